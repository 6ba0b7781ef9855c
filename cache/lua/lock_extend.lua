-- Gives a lock a new life if it is still ours.
--
-- KEYS[1]  the lock
-- ARGV[1]  the owner's token
-- ARGV[2]  its new life in milliseconds, from now
--
-- Returns 1 when it was ours and is renewed, 0 when it was not ours.

if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
