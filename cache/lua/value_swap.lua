-- Replaces a value only if it is still the one that was read.
--
-- KEYS[1]  the key
-- ARGV[1]  the value as it was read
-- ARGV[2]  the new one
-- ARGV[3]  its life in milliseconds
--
-- Returns 1 when it was replaced, 0 when it had changed or was gone.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
