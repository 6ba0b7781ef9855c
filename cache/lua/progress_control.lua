-- Leaves a word for the worker of a job in its progress hash, which its next flush reads back.
--
-- KEYS[1]  the progress hash
-- ARGV[1]  the word: "pause", "cancel" or "leave"
-- ARGV[2]  fence of the claim it is for
-- ARGV[3]  life in milliseconds of a hash that this creates, so that none is left without one
--
-- Returns 1 when the word stands, 0 when one stands that it does not replace: one for a newer claim, or
-- for the same claim "cancel" where "pause" comes, and "leave" where either comes. So it makes no
-- difference in which order the words of several callers arrive.

local key = KEYS[1]
local rank = {pause = 1, cancel = 2, leave = 3}
local word, fence = ARGV[1], tonumber(ARGV[2])
local held_word, held_fence = string.match(redis.call('HGET', key, 'control') or '', '^(%a+):(%d+)$')
held_fence = tonumber(held_fence or '') or -1
if held_fence > fence or (held_fence == fence and (rank[held_word] or 0) > (rank[word] or 0)) then
    return 0
end
redis.call('HSET', key, 'control', word .. ':' .. ARGV[2])
if redis.call('PTTL', key) < 0 then
    redis.call('PEXPIRE', key, ARGV[3])
end
return 1
