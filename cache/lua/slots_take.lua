-- Sets how many slots of one resource a member holds: the number it wants, or as many as are free.
--
-- KEYS[1]  the resource, a hash from member to "<slots> <expiry>" (milliseconds since the epoch)
-- ARGV[1]  the member
-- ARGV[2]  the number that it wants; 0 releases all
-- ARGV[3]  the number that exists for all members
-- ARGV[4]  TTL of its slots in milliseconds
--
-- Returns {granted, used}: the slots that the member holds now, and those that all members hold.
--
-- Idempotent: it sets the number. Expired and unreadable entries are removed. If the limit was lowered below
-- the slots in use, a member that holds some keeps one: it is in the middle of a transfer.

local key, member, ttl = KEYS[1], ARGV[1], tonumber(ARGV[4])
local want, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local held, others = 0, 0
local entries = redis.call('HGETALL', key)
for i = 1, #entries, 2 do
    local slots, ends = string.match(entries[i + 1], '^(%d+) (%d+)$')
    if not ends or tonumber(ends) <= now then
        redis.call('HDEL', key, entries[i])
    elseif entries[i] == member then
        held = tonumber(slots)
    else
        others = others + tonumber(slots)
    end
end

local room = math.max(limit - others, math.min(held, 1))
local granted = math.min(want, room)
if granted > 0 then
    redis.call('HSET', key, member, string.format('%.0f %.0f', granted, now + ttl))
    if redis.call('PTTL', key) < ttl then
        redis.call('PEXPIRE', key, ARGV[4])
    end
else
    redis.call('HDEL', key, member)
end
return {granted, others + granted}
