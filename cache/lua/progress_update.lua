-- Adds bytes to a progress hash and sets its other fields, once per (fence, sequence).
--
-- KEYS[1]  the progress hash
-- ARGV[1]  fence: the number of the claim that speaks
-- ARGV[2]  sequence: rises with every update of that claim; '' takes the next one unchecked
-- ARGV[3]  increment: bytes since the update before
-- ARGV[4]  absolute: the count of bytes after this update, for a hash that is gone or belongs to an
--          older claim; '' means that such a hash is left alone and nothing is written
-- ARGV[5]  '1' sets the count to `absolute` (a transfer started over), anything else adds
-- ARGV[6]  life of the hash in milliseconds from now
-- ARGV[7…] field, value, field, value …
--
-- Returns {verdict, control, bytes}
--   verdict   1 applied, 0 repeated (already applied), -1 fenced (a newer claim speaks), -2 no hash
--   control   the field `control` ("cancel:<fence>", "pause:<fence>") or ''
--   bytes     the count after it, as text ('' when nothing was written)
--
-- Counts stay text: a Lua number would lose digits above 2^53 and print large ones as 1e+15.

local key = KEYS[1]
local held = redis.call('HMGET', key, 'fence', 'sequence', 'control')
local held_fence = tonumber(held[1] or '')
local held_sequence = tonumber(held[2] or '') or 0
local control = held[3] or ''
local fence = tonumber(ARGV[1])
local sequence = ARGV[2]

if held_fence and held_fence > fence then
    return {-1, control, ''}
end

local fresh = (held_fence == nil) or (held_fence < fence)
if fresh and ARGV[4] == '' then
    return {-2, control, ''}
end

if not fresh then
    if sequence == '' then
        sequence = string.format('%.0f', held_sequence + 1)
    elseif tonumber(sequence) <= held_sequence then
        redis.call('PEXPIRE', key, ARGV[6])
        return {0, control, redis.call('HGET', key, 'bytes_downloaded') or ''}
    end
elseif sequence == '' then
    sequence = '1'
end

local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))

redis.call('HSET', key, 'fence', ARGV[1], 'sequence', sequence, 'updated_at', now,
    (table.unpack or unpack)(ARGV, 7))
if fresh or ARGV[5] == '1' then
    redis.call('HSET', key, 'bytes_downloaded', ARGV[4])
elseif ARGV[3] ~= '0' then
    redis.call('HINCRBY', key, 'bytes_downloaded', ARGV[3])
end
if ARGV[3] ~= '0' then
    redis.call('HSET', key, 'last_byte_at', now)
end
redis.call('PEXPIRE', key, ARGV[6])
return {1, control, redis.call('HGET', key, 'bytes_downloaded') or ''}
