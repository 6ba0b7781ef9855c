-- Takes from one or several rate limits of one subject, all or nothing: an exact log of when each unit was
-- taken, the newest first. In no interval as long as a window is more taken than its limit.
--
-- KEYS[1]  the log, a list of microseconds since the epoch
-- ARGV[1]  how much to take; 0 only looks
-- ARGV[2…] limit, window in microseconds, limit, window …
--
-- Returns {taken, used, wait, reset, used, wait, reset, …}, integers, three for each limit
--   taken  1 when every limit had room, else 0 and nothing was taken
--   used   what stands in its window after this call
--   wait   microseconds until it has room for what was asked, 0 when it had
--   reset  microseconds until its window is empty, if nothing more is taken
--
-- Time is the server's. Should its clock step back, the newest entry's is used: time never runs backwards.
-- What is told is by the clock, since that is what the caller has to wait for.

local key = KEYS[1]
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = clock
local newest = tonumber(redis.call('LINDEX', key, 0) or '')
if newest and newest > now then
    now = newest
end

local cost = tonumber(ARGV[1])
local longest = 0
for i = 3, #ARGV, 2 do
    longest = math.max(longest, tonumber(ARGV[i]))
end
while true do
    local oldest = tonumber(redis.call('LINDEX', key, -1) or '')
    if not oldest or oldest > now - longest then
        break
    end
    redis.call('RPOP', key)
end
local length = redis.call('LLEN', key)

-- How many entries are younger than a window: the log is sorted, so halve it.
local function used_within(window)
    local low, high = 0, length
    while low < high do
        local middle = math.floor((low + high) / 2)
        if tonumber(redis.call('LINDEX', key, middle)) > now - window then
            low = middle + 1
        else
            high = middle
        end
    end
    return low
end

local taken, rows = 1, {}
for i = 2, #ARGV, 2 do
    local limit, window = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    local used, wait = used_within(window), 0
    if used + cost > limit then
        taken = 0
        -- The unit that has to leave the window first.
        wait = tonumber(redis.call('LINDEX', key, limit - cost)) + window - clock
    end
    rows[#rows + 1] = {used = used, wait = wait, window = window}
end

if taken == 1 and cost > 0 then
    local stamp = string.format('%.0f', now)
    local stamps = {}
    for i = 1, cost do
        stamps[#stamps + 1] = stamp
        if #stamps == 1000 or i == cost then
            redis.call('LPUSH', key, (table.unpack or unpack)(stamps))
            stamps = {}
        end
    end
    newest = now
    -- A millisecond more: this one has begun already, and the last entry must not be forgotten within it.
    local life = math.ceil((now + longest - clock) / 1000) + 1
    if redis.call('PTTL', key) < life then
        redis.call('PEXPIRE', key, life)
    end
end

local reply = {taken}
for _, row in ipairs(rows) do
    local used = row.used + (taken == 1 and cost or 0)
    reply[#reply + 1] = used
    reply[#reply + 1] = row.wait
    reply[#reply + 1] = used > 0 and newest + row.window - clock or 0
end
return reply
