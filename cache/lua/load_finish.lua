-- Ends a claim on the loading of a value: with the value, or without one.
--
-- KEYS[1]  the value's key
-- ARGV[1]  token of the claim, 16 bytes
-- ARGV[2]  the new value as a whole, or '' when the loader failed
-- ARGV[3]  life of the new value in milliseconds
--
-- Returns 1 when the claim was still ours, 0 when it was not: the key was deleted, set or claimed by
-- somebody else meanwhile, so what was loaded may be out of date and is not stored.

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
