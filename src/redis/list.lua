-- The names of the locks that are held, waited for, or cooling down: a part of
-- them, by SCAN.
--
-- ARGV  1 where to go on: "0" at the beginning   2 pattern for the NAME
--
-- Returns where to go on next ("0": that was all), a newline, and the names, each
-- followed by a newline; some may come twice.  Keys of others may look like those
-- of a lock, but for a NAME that none can have.

local call = redis.call
local part = call('SCAN', ARGV[1], 'MATCH', 'cflock:{' .. ARGV[2] .. '}*', 'COUNT', 250)
local names = {part[1]}

for _, key in ipairs(part[2]) do
	local name, suffix = string.match(key, '^cflock:{([%w._:/@+%%-]+)}(.*)$')

	if suffix == '' or suffix == ':line' or suffix == ':cooldown' then
		table.insert(names, name)
	end
end
return table.concat(names, '\n') .. '\n'
