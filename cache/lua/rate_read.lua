-- Returns the bytes of the last complete seconds.
--
-- KEYS[1]  hash from second (since the epoch) to bytes, see rate_add
-- ARGV[1]  number of seconds
--
-- Returns the sum as text.

local second = tonumber(redis.call('TIME')[1])
local sum = 0
for back = 1, tonumber(ARGV[1]) do
    sum = sum + (tonumber(redis.call('HGET', KEYS[1], string.format('%.0f', second - back)) or '') or 0)
end
return string.format('%.0f', sum)
