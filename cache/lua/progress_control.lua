-- Writes a control request into a job's progress hash, where the worker's next flush reads it.
--
-- KEYS[1]  the progress hash
-- ARGV[1]  the request: "pause", "cancel" or "leave"
-- ARGV[2]  fence of the claim that it is for
-- ARGV[3]  TTL in milliseconds of a hash that this creates
--
-- Returns 1 if written, 0 if a stronger request stays: one for a newer claim, or for the same claim "cancel"
-- over "pause", or "leave" over both. So the order in which requests arrive makes no difference.

local key = KEYS[1]
local rank = {pause = 1, cancel = 2, leave = 3}
local request, fence = ARGV[1], tonumber(ARGV[2])
local held_request, held_fence = string.match(redis.call('HGET', key, 'control') or '', '^(%a+):(%d+)$')
held_fence = tonumber(held_fence or '') or -1
if held_fence > fence or (held_fence == fence and (rank[held_request] or 0) > (rank[request] or 0)) then
    return 0
end
redis.call('HSET', key, 'control', request .. ':' .. ARGV[2])
if redis.call('PTTL', key) < 0 then
    redis.call('PEXPIRE', key, ARGV[3])
end
return 1
