-- Sets how many slots of one resource a member holds: as many as it wants, as far as there is room.
--
-- KEYS[1]  the resource, a hash from member to "<slots> <end>" (end: milliseconds since the epoch)
-- ARGV[1]  the member
-- ARGV[2]  how many it wants; 0 gives all back
-- ARGV[3]  how many there are for all members
-- ARGV[4]  milliseconds after which its slots are free again unless they are renewed
--
-- Returns {granted, used}: the slots the member holds now, and those that all members hold.
--
-- Safe to repeat: it sets, and does not add. Members whose end has come are removed, and
-- entries that cannot be read. Where the limit has been
-- lowered below what is held, a member that asks again keeps one slot: it is in the middle of something.

local key, member, life = KEYS[1], ARGV[1], tonumber(ARGV[4])
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
    redis.call('HSET', key, member, string.format('%.0f %.0f', granted, now + life))
    if redis.call('PTTL', key) < life then
        redis.call('PEXPIRE', key, ARGV[4])
    end
else
    redis.call('HDEL', key, member)
end
return {granted, others + granted}
