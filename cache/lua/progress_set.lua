-- Replaces a progress hash, unless a newer claim owns it.
--
-- KEYS[1]  the progress hash
-- ARGV[1]  fence of the writer's claim
-- ARGV[2]  TTL of the hash in milliseconds
-- ARGV[3]  sequence of this progress; if the claim's hash has a later one, the next after that is used
-- ARGV[4…] field, value, field, value … (without fence, sequence, updated_at and control)
--
-- Returns {status, sequence}: status 1 set, -1 fenced; the hash's sequence as text.
-- The field `control` is kept: it contains the fence that it is for.

local key = KEYS[1]
local held = redis.call('HMGET', key, 'fence', 'control', 'sequence')
local held_fence = tonumber(held[1] or '') or 0
local control = held[2] or ''
local held_sequence = tonumber(held[3] or '') or -1
if held_fence > tonumber(ARGV[1]) then
    return {-1, held[3] or ''}
end
local sequence = ARGV[3]
if held_fence == tonumber(ARGV[1]) and held_sequence >= tonumber(sequence) then
    sequence = string.format('%.0f', held_sequence + 1)
end
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
redis.call('DEL', key)
redis.call('HSET', key, 'fence', ARGV[1], 'sequence', sequence, 'updated_at', now,
    (table.unpack or unpack)(ARGV, 4))
if control ~= '' then
    redis.call('HSET', key, 'control', control)
end
redis.call('PEXPIRE', key, ARGV[2])
return {1, sequence}
