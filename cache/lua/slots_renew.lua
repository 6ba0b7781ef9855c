-- Renews the slots of one member, unless they have expired.
--
-- KEYS[1]  the resource, see slots_take
-- ARGV[1]  the member
-- ARGV[2]  the new TTL in milliseconds
--
-- Returns the number of its slots; 0 if they have expired: they are not restored.

local key = KEYS[1]
local value = redis.call('HGET', key, ARGV[1])
if not value then
    return 0
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local slots, ends = string.match(value, '^(%d+) (%d+)$')
if not ends or tonumber(ends) <= now then
    redis.call('HDEL', key, ARGV[1])
    return 0
end
redis.call('HSET', key, ARGV[1], string.format('%s %.0f', slots, now + tonumber(ARGV[2])))
if redis.call('PTTL', key) < tonumber(ARGV[2]) then
    redis.call('PEXPIRE', key, ARGV[2])
end
return tonumber(slots)
