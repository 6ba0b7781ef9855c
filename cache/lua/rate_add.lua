-- Adds bytes to the current second.
--
-- KEYS[1]  hash from second (since the epoch) to bytes
-- ARGV[1]  bytes
-- ARGV[2]  seconds that are kept
--
-- Returns 1.

local key = KEYS[1]
local second = tonumber(redis.call('TIME')[1])
redis.call('HINCRBY', key, string.format('%.0f', second), ARGV[1])
for _, field in ipairs(redis.call('HKEYS', key)) do
    if (tonumber(field) or 0) < second - tonumber(ARGV[2]) then
        redis.call('HDEL', key, field)
    end
end
redis.call('EXPIRE', key, tonumber(ARGV[2]) + 1)
return 1
