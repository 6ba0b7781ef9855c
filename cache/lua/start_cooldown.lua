-- Starts a host's cooldown, unless a longer one exists.
--
-- KEYS[1]  the cooldown
-- ARGV[1]  its duration in milliseconds
-- ARGV[2]  its reason, as text
--
-- Returns 1 if started, 0 if a longer one exists.

if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[1]) then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
return 1
