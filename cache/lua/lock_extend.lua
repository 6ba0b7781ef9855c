-- Renews the TTL of a lock if the token still holds it.
--
-- KEYS[1]  the lock
-- ARGV[1]  the holder's token
-- ARGV[2]  the new TTL in milliseconds
--
-- Returns 1 if renewed, 0 if the token does not hold the lock.

if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
