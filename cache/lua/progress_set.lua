-- Replaces a progress hash as a whole, unless a newer claim owns it.
--
-- KEYS[1]  the progress hash
-- ARGV[1]  fence of the claim that speaks
-- ARGV[2]  life of the hash in milliseconds from now
-- ARGV[3…] field, value, field, value … (without fence, updated_at and control)
--
-- Returns {verdict, control}: verdict 1 set, -1 fenced; control as in progress_update.
-- A control field survives: it is addressed to a fence, and its reader compares that.

local key = KEYS[1]
local held = redis.call('HMGET', key, 'fence', 'control')
local control = held[2] or ''
if (tonumber(held[1] or '') or 0) > tonumber(ARGV[1]) then
    return {-1, control}
end
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
redis.call('DEL', key)
redis.call('HSET', key, 'fence', ARGV[1], 'updated_at', now, (table.unpack or unpack)(ARGV, 3))
if control ~= '' then
    redis.call('HSET', key, 'control', control)
end
redis.call('PEXPIRE', key, ARGV[2])
return {1, control}
