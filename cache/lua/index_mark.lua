-- Marks an index as invalidated now, and removes its expired members; the others stay.
--
-- KEYS[1]  the index, see index_add
-- ARGV[1]  TTL of the mark in milliseconds: the longest time that a loader may run
--
-- Returns 1.

local key = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', key, string.format('%.0f', -now), '')
redis.call('ZREMRANGEBYSCORE', key, 0, string.format('%.0f', now))
if redis.call('PTTL', key) < tonumber(ARGV[1]) then
    redis.call('PEXPIRE', key, ARGV[1])
end
return 1
