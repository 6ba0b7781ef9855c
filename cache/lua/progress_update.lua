-- Adds bytes to a progress hash and sets its other fields, once per (fence, sequence).
--
-- KEYS[1]  the progress hash
-- ARGV[1]  fence: the number of the claim that speaks
-- ARGV[2]  sequence: rises with every update of that claim; '' takes the next one unchecked
-- ARGV[3]  increment: bytes since the update before
-- ARGV[4]  absolute: the count of bytes after this update, for a hash that is gone, belongs to an
--          older claim, or lacks updates (the store came back from an older snapshot); '' means that
--          a hash that is gone or older is left alone and nothing is written
-- ARGV[5]  '1' sets the count to `absolute` (a transfer started over), anything else adds
-- ARGV[6]  life of the hash in milliseconds from now; without `absolute` a longer one is kept
-- ARGV[7…] field, value, field, value …
--
-- Returns {verdict, control, bytes, sequence}
--   verdict   1 applied, 0 repeated (already applied), -1 fenced (a newer claim speaks), -2 no hash
--   control   the field `control` ("cancel:<fence>", "pause:<fence>") or ''
--   bytes     the count after it, as text ('' when nothing was written)
--   sequence  the sequence the hash stands at, as text ('' when nothing was written)
--
-- What an older claim left (why it failed, where its file went) goes; a control word stays.
-- An update that continues its claim costs four commands: each one costs more than all of the Lua around
-- it. Where a sum would exceed what a Lua number holds exactly (2^53), HINCRBY adds instead.

local key = KEYS[1]
local held = redis.call('HMGET', key, 'fence', 'sequence', 'control', 'bytes_downloaded')
local held_fence = tonumber(held[1] or '')
local held_sequence = tonumber(held[2] or '') or 0
local control = held[3] or ''
local held_bytes = held[4] or '0'
local fence = tonumber(ARGV[1])
local sequence = ARGV[2]
local knows_absolute = ARGV[4] ~= ''

local function renew()
    if knows_absolute or redis.call('PTTL', key) < tonumber(ARGV[6]) then
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
    renew()
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
renew()
return {1, control, bytes, sequence}
