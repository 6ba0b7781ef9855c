-- Marks an index as invalidated now, and sheds the members whose end has come; the others stay.
--
-- KEYS[1]  the index, see index_add
-- ARGV[1]  how long the mark must be remembered, in milliseconds: the longest that a loader may take
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
