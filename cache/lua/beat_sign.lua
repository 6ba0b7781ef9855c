-- Notes that a beat is there: the one that leads has ticked, or another one stands by.
--
-- KEYS[1]  the sign of life, a hash: `worker` and `at` (milliseconds since the epoch) of the last tick, and
--          `standby:<worker>` with the time of its last look for each beat that stands by
-- ARGV[1]  the worker
-- ARGV[2]  1 when it leads and has ticked, 0 when it stands by
-- ARGV[3]  milliseconds after which one that stood by counts no more
-- ARGV[4]  life of the whole in milliseconds
--
-- Returns 1.

local key, worker, standby = KEYS[1], ARGV[1], 'standby:' .. ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local at = string.format('%.0f', now)

if ARGV[2] == '1' then
    redis.call('HSET', key, 'worker', worker, 'at', at)
    redis.call('HDEL', key, standby)
else
    redis.call('HSET', key, standby, at)
end

local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 8) == 'standby:' and (tonumber(fields[i + 1]) or 0) < now - tonumber(ARGV[3]) then
        redis.call('HDEL', key, fields[i])
    end
end
redis.call('PEXPIRE', key, ARGV[4])
return 1
