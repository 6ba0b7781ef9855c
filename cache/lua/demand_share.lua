-- Stores the demand of one process for a limited rate, and returns the sum over all processes.
--
-- KEYS[1]  hash from process to "<expiry> <transfers> <constrained> <unconstrained> <used>"; the expiry is
--          in milliseconds since the epoch
-- ARGV[1]  the process
-- ARGV[2]  number of its transfers; 0 removes its entry
-- ARGV[3]  number of its constrained transfers
-- ARGV[4]  bytes per second of its unconstrained transfers
-- ARGV[5]  bytes per second of all its transfers
-- ARGV[6]  TTL of its entry in milliseconds
--
-- Returns {transfers, constrained, unconstrained, used} of all processes, as text.
--
-- If ARGV[1] is '', it only reads.

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
    -- The numbers of a longer entry would overflow.
    if not ends or #notes[i + 1] > 120 or tonumber(ends) <= now then
        redis.call('HDEL', key, notes[i])
    else
        for index, number in ipairs({a, b, c, d}) do
            sums[index] = sums[index] + tonumber(number)
        end
    end
end
for index = 1, 4 do
    sums[index] = string.format('%.0f', sums[index])
end
return sums
