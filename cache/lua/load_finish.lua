-- Releases the claim on a key, and stores the loaded value, if there is one.
--
-- KEYS[1]  the value's key
-- ARGV[1]  token of the claim, 16 bytes
-- ARGV[2]  the encoded value, or '' for none
-- ARGV[3]  TTL of the value in milliseconds
--
-- Returns 1, or 0 if the claim was lost: the key was deleted, set or claimed by another load meanwhile. The
-- value may then be outdated and is not stored.

local key = KEYS[1]
if redis.call('GETRANGE', key, 4, 19) ~= ARGV[1] then
    return 0
end
if ARGV[2] ~= '' then
    redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
elseif redis.call('GETRANGE', key, 1, 1) == 'C' then
    redis.call('DEL', key)
else
    redis.call('SETRANGE', key, 4, string.rep('0', 29))
end
return 1
