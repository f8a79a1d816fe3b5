-- Ends the lease of an id, whatever its token, and its waiting.
--
-- ARGV  1 id   2 "lift" when it did not run, or may be run again: no cooldown
--
-- Returns 1, or 0 when that id held nothing.

local id = ARGV[1]
local held = read_holders()
local mine = held[id]

if mine and (mine.started or mine.from <= now) then
	drop_holder(id, mine)
	held[id] = nil
	write_lock(held)
elseif mine then
	-- What it took over may still run: the lock stays shut until that has ended,
	-- and the next in the line may have it from there on.
	mine.ends = mine.from
	write_holder(id, mine)
	write_lock(held)
end
if ARGV[2] == 'lift' and call('GET', COOLDOWN) == id then
	call('DEL', COOLDOWN)
end
local stood = leave_line(id)
if first_in_line() and (mine or stood) then
	prune(id, true)
	wake_first()
end
return mine and 1 or 0
