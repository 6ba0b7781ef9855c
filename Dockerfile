# One image for migrate, both workers, beat, the API and Flower; docker-compose.yml sets the command of each.

FROM python:3.13.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/seen
WORKDIR /src
# Requirements first: they rarely change, so this layer is mostly cached.
COPY requirements.txt .
# Only wheels: slim images have no compiler.
RUN /opt/seen/bin/pip install --no-deps --only-binary=:all: -r requirements.txt
COPY . .
RUN /opt/seen/bin/pip install --no-deps --no-build-isolation .

FROM python:3.13.11-slim-bookworm
# Fixed ids, so that folders mounted from the host can be owned by them.
RUN groupadd --gid 10001 seen \
    && useradd --uid 10001 --gid seen --no-create-home --home-dir /var/lib/seen --shell /usr/sbin/nologin seen \
    # New volumes get their owner and mode from here.
    && install -d -o seen -g seen -m 0750 /var/lib/seen /downloads
COPY --from=build /opt/seen /opt/seen
# The root file system is read-only at run time; pip has compiled the bytecode.
ENV PATH=/opt/seen/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONUTF8=1
# Every user may enter it: download workers may run as the owner of a folder of the host.
WORKDIR /
USER 10001:10001
STOPSIGNAL SIGTERM
# docker-compose.yml has one for each service.
HEALTHCHECK NONE
CMD ["seen", "--help"]
