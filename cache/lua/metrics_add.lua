-- Adds what a process has counted to the totals of all processes, once per sequence.
--
-- KEYS[1]  hash: counts by their series; the record of each process, `process:<name>`
-- ARGV[1]  the process
-- ARGV[2]  sequence: rises with every new increment of that process, from 1
-- ARGV[3]  TTL of the hash in milliseconds
-- ARGV[4]  gauges of the process, as text
-- ARGV[5]  how many increments follow
-- ARGV[6…] field, increment … then field, seconds since something happened …
--
-- Returns 1 if the increments were added, 0 if they had been before.
--
-- A field that holds no count starts from 0. Of the times that something happened, the latest is kept.

local key = KEYS[1]
local rest = table.unpack or unpack
local record = 'process:' .. ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) + math.floor(tonumber(time[2]) / 1000) / 1000
local last_increment = 5 + 2 * tonumber(ARGV[5])

local function count(text)
    local number = tonumber(text or '') or 0
    return number >= 0 and number < math.huge and number or 0
end

-- Changes 500 fields at a time: a call has a limited number of arguments.
local function change(first, last, next_value)
    for start = first, last, 1000 do
        local stop, fields, values = math.min(start + 999, last), {}, {}
        for i = start, stop, 2 do
            fields[#fields + 1] = ARGV[i]
        end
        local held = redis.call('HMGET', key, rest(fields))
        for n, field in ipairs(fields) do
            values[2 * n - 1] = field
            values[2 * n] = next_value(held[n], ARGV[start + 2 * n - 1])
        end
        redis.call('HSET', key, rest(values))
    end
end

local held = tonumber(string.match(redis.call('HGET', key, record) or '', '^(%d+) ')) or 0
local is_new = held < tonumber(ARGV[2])
if is_new then
    change(6, last_increment, function(before, increment)
        return string.format('%.17g', count(before) + count(increment))
    end)
end
change(last_increment + 1, #ARGV, function(before, age)
    local at = now - count(age)
    local latest = count(before)
    return string.format('%.3f', latest > at and latest <= now and latest or at)
end)
redis.call('HSET', key, record, string.format('%.0f %.3f %s', math.max(held, tonumber(ARGV[2])), now, ARGV[4]))
redis.call('PEXPIRE', key, ARGV[3])
return is_new and 1 or 0
