-- Counts the members of a sorted set that were renewed recently.
--
-- KEYS[1]  a sorted set by milliseconds since the epoch
-- ARGV[1]  the largest age in milliseconds that is counted
--
-- Returns how many.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return redis.call('ZCOUNT', KEYS[1], string.format('%.0f', now - tonumber(ARGV[1])), '+inf')
