-- Deletes a lock if it is still ours.
--
-- KEYS[1]  the lock
-- ARGV[1]  the owner's token
--
-- Returns 1 when it was ours and is gone, 0 when it was not ours (expired, or somebody else's).

if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
