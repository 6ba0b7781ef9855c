# One image for migrate, both workers, beat and Flower; docker-compose.yml says which it is to be.

FROM python:3.13.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/seen
WORKDIR /src
# Requirements first: they change seldom, so this layer is seldom made anew.
COPY requirements.txt .
# Everything has to be ready-built: slim images have no compiler.
RUN /opt/seen/bin/pip install --no-deps --only-binary=:all: -r requirements.txt
COPY . .
RUN /opt/seen/bin/pip install --no-deps --no-build-isolation .

FROM python:3.13.11-slim-bookworm
# A fixed number, so that folders mounted from the host can be given to it by number.
RUN groupadd --gid 10001 seen \
    && useradd --uid 10001 --gid seen --no-create-home --home-dir /var/lib/seen --shell /usr/sbin/nologin seen \
    # New volumes take owner and mode from here.
    && install -d -o seen -g seen -m 0750 /var/lib/seen /downloads
COPY --from=build /opt/seen /opt/seen
# The root file system is read-only at run time; the bytecode was compiled when pip installed.
ENV PATH=/opt/seen/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONUTF8=1
WORKDIR /var/lib/seen
USER 10001:10001
STOPSIGNAL SIGTERM
# Each service has its own, in docker-compose.yml.
HEALTHCHECK NONE
CMD ["seen", "--help"]
