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

-- How many entries are younger than a window: all within the longest; else the log is sorted, so halve it.
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
        -- The unit that has to leave the window first.
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
    -- A millisecond more: this one has begun already, and the last entry must not be forgotten within it.
    local life = math.ceil((now + longest - clock) / 1000) + 1
    if redis.call('PTTL', key) < life then
        redis.call('PEXPIRE', key, life)
    end
end

reply[1] = taken
for i = 2, #reply, 3 do
    reply[i] = reply[i] + taken * cost
    reply[i + 2] = reply[i] > 0 and newest + reply[i + 2] - clock or 0
end
return reply
