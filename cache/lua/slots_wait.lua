-- Keeps the place in the line of a member that is away until it is called, if it has one.
--
-- KEYS[1]  the resource, see slots_take
-- ARGV[1]  the member
-- ARGV[2]  the new TTL of its place in milliseconds
--
-- Returns 1; 0 if it has no place.

local key, ttl = KEYS[1], tonumber(ARGV[2])
local rank = string.match(redis.call('HGET', key, ARGV[1]) or '', '^wait (%d) %d+ %a+ %d+$')
if not rank then
    return 0
end
local time = redis.call('TIME')
local ends = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + ttl
redis.call('HSET', key, ARGV[1], string.format('wait %s %.0f away 0', rank, ends))
if redis.call('PTTL', key) < ttl then
    redis.call('PEXPIRE', key, ARGV[2])
end
return 1
