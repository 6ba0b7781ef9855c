-- Takes units from one or several rate limits, all or nothing. The log has the time of each unit, the newest
-- first, so that in no interval as long as a window more units are taken than its limit.
--
-- KEYS[1]  the log, a list of microseconds since the epoch
-- ARGV[1]  units to take; 0 only reads
-- ARGV[2…] limit, window in microseconds, limit, window …
--
-- Returns {taken, used, wait, reset, used, wait, reset, …}, integers, three for each limit
--   taken  1 if every limit had room, else 0 and nothing was taken
--   used   units in its window after this call
--   wait   microseconds until it has room for the units; 0 if it had
--   reset  microseconds until its window is empty, without further calls
--
-- Times are the server's. If its clock steps back, the newest entry's time is used instead, so that the log
-- stays sorted. `wait` and `reset` are by the clock: the caller waits by a clock.

local key = KEYS[1]
local time = redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
local cost, longest = tonumber(ARGV[1]), 0
for i = 3, #ARGV, 2 do
    longest = math.max(longest, tonumber(ARGV[i]))
end

local now, newest = clock, nil
local length = redis.call('LLEN', key)
if length > 0 then
    newest = tonumber(redis.call('LINDEX', key, 0))
    now = math.max(now, newest)
    while length > 0 and tonumber(redis.call('LINDEX', key, -1)) <= now - longest do
        redis.call('RPOP', key)
        length = length - 1
    end
end

-- Number of entries within a window: all of them for the longest one, else by binary search.
local function used_within(window)
    if window == longest then
        return length
    end
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

local taken, reply = 1, {1}
for i = 2, #ARGV, 2 do
    local limit, window = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    local used, wait = used_within(window), 0
    if used + cost > limit then
        taken = 0
        -- The unit that must leave the window first.
        wait = tonumber(redis.call('LINDEX', key, limit - cost)) + window - clock
    end
    reply[#reply + 1] = used
    reply[#reply + 1] = wait
    reply[#reply + 1] = window
end

if taken == 1 and cost > 0 then
    local stamp = string.format('%.0f', now)
    if cost == 1 then
        redis.call('LPUSH', key, stamp)
    else
        local stamps = {}
        for i = 1, cost do
            stamps[#stamps + 1] = stamp
            if #stamps == 1000 or i == cost then
                redis.call('LPUSH', key, (table.unpack or unpack)(stamps))
                stamps = {}
            end
        end
    end
    newest = now
    -- One millisecond more: PEXPIRE counts from a truncated millisecond, and must not drop the last entry early.
    local ttl = math.ceil((now + longest - clock) / 1000) + 1
    if redis.call('PTTL', key) < ttl then
        redis.call('PEXPIRE', key, ttl)
    end
end

reply[1] = taken
for i = 2, #reply, 3 do
    reply[i] = reply[i] + taken * cost
    reply[i + 2] = reply[i] > 0 and newest + reply[i + 2] - clock or 0
end
return reply
