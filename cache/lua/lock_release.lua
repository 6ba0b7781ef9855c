-- Deletes a lock if the token still holds it.
--
-- KEYS[1]  the lock
-- ARGV[1]  the holder's token
--
-- Returns 1 if deleted, 0 if the token does not hold the lock.

if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
