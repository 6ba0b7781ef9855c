-- Lets a host cool down; one that has longer to cool already stays as it is.
--
-- KEYS[1]  the host's mark
-- ARGV[1]  milliseconds from now
-- ARGV[2]  the reason, for people
--
-- Returns 1 when it was set, 0 when a longer one stays.

if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[1]) then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
return 1
