-- Notes what one process demands of a limited rate, and adds up what all of them do.
--
-- KEYS[1]  the demand of one rate, a hash from process to "<end> <transfers> <constrained> <unconstrained> <used>"
--          (end: milliseconds since the epoch)
-- ARGV[1]  the process
-- ARGV[2]  its transfers; 0 removes its note
-- ARGV[3]  those of them that would take more
-- ARGV[4]  bytes a second that the others use
-- ARGV[5]  bytes a second that all of them use
-- ARGV[6]  milliseconds after which its note counts no more
--
-- Returns {transfers, constrained, unconstrained, used} of all living processes, as text.
--
-- Only looks, and notes nothing, when ARGV[1] is ''.

local key = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if ARGV[1] ~= '' then
    if tonumber(ARGV[2]) > 0 then
        local ends = string.format('%.0f', now + tonumber(ARGV[6]))
        local note = ends .. ' ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5]
        redis.call('HSET', key, ARGV[1], note)
        redis.call('PEXPIRE', key, ARGV[6])
    else
        redis.call('HDEL', key, ARGV[1])
    end
end

local sums = {0, 0, 0, 0}
local notes = redis.call('HGETALL', key)
for i = 1, #notes, 2 do
    local ends, a, b, c, d = string.match(notes[i + 1], '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    -- The numbers of a note that is longer would not add up to a number.
    if not ends or #notes[i + 1] > 120 or tonumber(ends) <= now then
        redis.call('HDEL', key, notes[i])
    else
        for place, number in ipairs({a, b, c, d}) do
            sums[place] = sums[place] + tonumber(number)
        end
    end
end
for place = 1, 4 do
    sums[place] = string.format('%.0f', sums[place])
end
return sums
