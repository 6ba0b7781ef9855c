-- Sets how many slots of one resource a member holds: the number it wants, or as many as are free. A member
-- that has a rank gets all or none, in turn: as long as it gets none, it has a place in a line.
--
-- KEYS[1]  the resource, a hash from member to "<slots> <expiry>" (milliseconds since the epoch), or to
--          "wait <rank> <expiry> <here|away> <since>" for a place in the line: members come in the order of
--          rank and name. An `away` member has to be called; since `since` a slot is free for it (0: none is)
-- ARGV[1]  the member
-- ARGV[2]  the number that it wants; 0 releases all
-- ARGV[3]  the number that exists for all members
-- ARGV[4]  TTL of its slots in milliseconds
-- ARGV[5]  its rank, one digit, or "" for a member that runs already: it is not in the line
-- ARGV[6]  TTL of its place in milliseconds
-- ARGV[7]  places in the line at most
-- ARGV[8]  the milliseconds for which a free slot is kept for a member in the line that does not come
--
-- Returns {granted, used, place, called, unchanged}: the slots that the member holds now, those that all
-- members hold, whether it has a place in the line (1 or 0), for how many that are away a slot is free from
-- now on, and the milliseconds since another member has taken or renewed slots.
--
-- Idempotent: it sets the number. Expired and unreadable entries are removed. If the limit was lowered below
-- the slots in use, a member that holds some keeps one: it is in the middle of a transfer.

local key, member, ttl = KEYS[1], ARGV[1], tonumber(ARGV[4])
local want, limit, rank = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local held, others, line, newest = 0, 0, {}, 0
local entries = redis.call('HGETALL', key)
for i = 1, #entries, 2 do
    local name, value = entries[i], entries[i + 1]
    local slots, ends = string.match(value, '^(%d+) (%d+)$')
    local its_rank, place_ends, where, since
    if not slots then
        its_rank, place_ends, where, since = string.match(value, '^wait (%d) (%d+) (%a+) (%d+)$')
    end
    if tonumber(ends or place_ends or 0) <= now then
        redis.call('HDEL', key, name)
    elseif name == member then
        held = tonumber(slots or 0)
    elseif slots then
        others = others + tonumber(slots)
        newest = math.max(newest, tonumber(ends))
    else
        line[#line + 1] = {
            name = name, order = its_rank .. name, rank = its_rank, ends = place_ends,
            where = where, since = tonumber(since),
        }
    end
end

local function keep(value, for_ms)
    redis.call('HSET', key, member, value)
    if redis.call('PTTL', key) < for_ms then
        redis.call('PEXPIRE', key, string.format('%.0f', for_ms))
    end
end

local free = limit - others
local room, called, unchanged = free, 0, math.max(0, now + ttl - newest)
if rank == '' or held > 0 then
    -- More slots for a member that holds some are those that none waits for.
    if held > 0 then
        room = math.max(math.min(held, free), free - #line, 1)
    end
else
    table.sort(line, function(one, other) return one.order < other.order end)
    for _, one in ipairs(line) do
        if one.order > rank .. member then
            break
        end
        if room > 0 and one.since == 0 then
            redis.call('HSET', key, one.name,
                string.format('wait %s %s %s %.0f', one.rank, one.ends, one.where, now))
            called = called + (one.where == 'away' and 1 or 0)
            room = room - 1
        elseif room > 0 and now - one.since < tonumber(ARGV[8]) then
            room = room - 1
        end
    end
    if room < want then
        room = 0
    end
end

local granted = math.max(0, math.min(want, room))
if granted > 0 then
    keep(string.format('%.0f %.0f', granted, now + ttl), ttl)
    return {granted, others + granted, 0, called, unchanged}
end
local last = line[#line]
if rank == '' or want == 0 or (#line >= tonumber(ARGV[7]) and rank .. member > last.order) then
    redis.call('HDEL', key, member)
    return {0, others, 0, called, unchanged}
end
if #line >= tonumber(ARGV[7]) then
    redis.call('HDEL', key, last.name)
end
keep(string.format('wait %s %.0f here 0', rank, now + tonumber(ARGV[6])), tonumber(ARGV[6]))
return {0, others, 1, called, unchanged}
