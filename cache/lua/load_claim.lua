-- Claims the load of one cached value, so that one loader runs for all callers that miss it.
--
-- KEYS[1]  the value's own key, so that deleting the value also deletes the claim
-- ARGV[1]  token of the claim, 16 bytes
-- ARGV[2]  TTL of the claim in milliseconds
-- ARGV[3]  the first 45 bytes of the value that the caller has read; '' if there was none
-- ARGV[4]  'keep' writes the claim into the existing value, which is served while the new one is loaded;
--          otherwise the claim replaces the value
-- ARGV[5]  the first 4 bytes of a claim without a value
-- ARGV[6]  its last 12 bytes
--
-- Returns {status, now}
--   status  1 claimed, 0 another load has the claim, 2 the value has changed: read it again
--   now     the server's time in milliseconds since the epoch, as text
--
-- cache/platform/codec.py has the layout: the token is in bytes 5 to 20, the claim's expiry in 21 to 33.

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
    -- A retry after a lost reply finds its own token.
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
