-- Replaces a value if it has not changed since it was read.
--
-- KEYS[1]  the key
-- ARGV[1]  the value that was read
-- ARGV[2]  the new value
-- ARGV[3]  its TTL in milliseconds
--
-- Returns 1 if replaced, 0 if it has changed or does not exist.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
