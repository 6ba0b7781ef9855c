-- Notes when each periodic task was last sent, by the store's clock.
--
-- KEYS[1]  hash from entry to milliseconds since the epoch
-- ARGV[1]  life of the whole in milliseconds
-- ARGV[2…] pairs: an entry, and how many milliseconds ago it was sent
--
-- Returns 1.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for i = 2, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', now - tonumber(ARGV[i + 1])))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
