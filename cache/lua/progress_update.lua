-- Adds bytes to a progress hash and sets its other fields, once per (fence, sequence).
--
-- KEYS[1]  the progress hash
-- ARGV[1]  fence of the writer's claim
-- ARGV[2]  sequence: rises with every update of that claim; '' uses the next one, without a check
-- ARGV[3]  increment: bytes since the update before
-- ARGV[4]  absolute: the number of bytes after this update, used if the hash does not exist, belongs to an
--          older claim, or lacks updates (the store returned from an older snapshot); with '' a hash that
--          does not exist or is older is not written
-- ARGV[5]  '1' sets the number of bytes to `absolute` (the transfer started over); otherwise it is added to
-- ARGV[6]  TTL of the hash in milliseconds; without `absolute`, and by a repeated update, a longer TTL is
--          kept
-- ARGV[7…] field, value, field, value …
--
-- Returns {status, control, bytes, sequence}
--   status    1 applied, 0 repeated (applied before), -1 fenced (a newer claim owns it), -2 no hash
--   control   the field `control` ("cancel:<fence>", "pause:<fence>") or ''
--   bytes     the number of bytes after it, as text ('' if nothing was written)
--   sequence  the hash's sequence, as text ('' if nothing was written)
--
-- The fields of an older claim (such as its error or path) are removed; `control` is kept.
-- An ordinary update runs four commands: commands cost more than the Lua code. HINCRBY is used only if the
-- sum exceeds the exact integers of a Lua number (2^53).

local key = KEYS[1]
local held = redis.call('HMGET', key, 'fence', 'sequence', 'control', 'bytes_downloaded')
local held_fence = tonumber(held[1] or '')
local held_sequence = tonumber(held[2] or '') or 0
local control = held[3] or ''
local held_bytes = held[4] or '0'
local fence = tonumber(ARGV[1])
local sequence = ARGV[2]
local knows_absolute = ARGV[4] ~= ''

local function renew(may_shorten)
    if may_shorten or redis.call('PTTL', key) < tonumber(ARGV[6]) then
        redis.call('PEXPIRE', key, ARGV[6])
    end
end

if held_fence and held_fence > fence then
    return {-1, control, '', ''}
end

local fresh = (held_fence == nil) or (held_fence < fence)
if fresh and not knows_absolute then
    return {-2, control, '', ''}
end

if sequence == '' then
    sequence = string.format('%.0f', fresh and 1 or held_sequence + 1)
elseif not fresh and tonumber(sequence) <= held_sequence then
    renew(false)
    return {0, control, held_bytes, held[2]}
end

if fresh and held_fence then
    redis.call('DEL', key)
    if control ~= '' then
        redis.call('HSET', key, 'control', control)
    end
end

local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
local lacks_updates = knows_absolute and tonumber(sequence) > held_sequence + 1
local bytes = held_bytes
if fresh or lacks_updates or ARGV[5] == '1' then
    bytes = ARGV[4]
elseif ARGV[3] ~= '0' then
    local sum = (tonumber(held_bytes) or 0) + tonumber(ARGV[3])
    if sum < 2 ^ 53 then
        bytes = string.format('%.0f', sum)
    else
        redis.call('HINCRBY', key, 'bytes_downloaded', ARGV[3])
        bytes = redis.call('HGET', key, 'bytes_downloaded')
    end
end

local rest = table.unpack or unpack
if ARGV[3] == '0' then
    redis.call('HSET', key, 'fence', ARGV[1], 'sequence', sequence, 'updated_at', now,
        'bytes_downloaded', bytes, rest(ARGV, 7))
else
    redis.call('HSET', key, 'fence', ARGV[1], 'sequence', sequence, 'updated_at', now,
        'bytes_downloaded', bytes, 'last_byte_at', now, rest(ARGV, 7))
end
renew(knows_absolute)
return {1, control, bytes, sequence}
