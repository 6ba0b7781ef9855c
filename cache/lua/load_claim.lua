-- Claims the loading of one cached value, so that one loader runs for all who miss it.
--
-- KEYS[1]  the value's own key: there is no second key that could survive or miss a deletion
-- ARGV[1]  token of the claim, 16 bytes
-- ARGV[2]  life of the claim in milliseconds
-- ARGV[3]  the head of what the caller has read, '' for nothing (the first 45 bytes of the value)
-- ARGV[4]  'keep' keeps the value that is there and notes the claim in its head (it is served on while
--          it is loaded anew); anything else puts a bare claim in its place
-- ARGV[5]  what a bare claim begins with, 4 bytes
-- ARGV[6]  what a bare claim ends with, 12 bytes
--
-- Returns {verdict, now}
--   verdict  1 claimed, 0 somebody else has claimed it, 2 it has changed since it was read: read again
--   now      the server's clock, milliseconds since the epoch, as text
--
-- The layout of the head stands in cache/platform/codec.py: token at bytes 5 to 20, end of the claim at 21 to 33.

local key = KEYS[1]
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
local head = redis.call('GETRANGE', key, 0, 44)

local function claimable(bytes)
    local codec, kind = string.byte(bytes, 1) or 0, string.sub(bytes, 2, 2)
    return #bytes == 45 and codec <= 2 and (kind == 'L' or kind == 'M' or kind == 'C')
end

local function without_claim(bytes)
    if claimable(bytes) then
        return string.sub(bytes, 1, 4) .. string.sub(bytes, 34)
    end
    return bytes
end

if claimable(head) and (tonumber(string.sub(head, 21, 33)) or 0) > tonumber(now) then
    -- Ours when the caller asks again, because our first answer got lost.
    return {string.sub(head, 5, 20) == ARGV[1] and 1 or 0, now}
end
if without_claim(head) ~= without_claim(ARGV[3]) then
    return {2, now}
end

local claim = ARGV[1] .. string.format('%013.0f', tonumber(now) + tonumber(ARGV[2]))
if ARGV[4] == 'keep' then
    redis.call('SETRANGE', key, 4, claim)
else
    redis.call('SET', key, ARGV[5] .. claim .. ARGV[6], 'PX', ARGV[2])
end
return {1, now}
