-- Ends the lease of an id, whatever its token, and its waiting.
--
-- ARGV  1 id
--       2 "lift" when it did not run, or may be run again: no cooldown
--       3 "doubt" when an acquire of that id may come behind this
--       4 of a quorum: the ticket with which the id goes on waiting, or ""
--       5 of a quorum: the token of a vote that is given back, or ""; a vote for a
--         higher one was given later, and stays
--
-- Returns 1, or 0 when that id held nothing.

local id, ticket, token = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])

-- Puts the holder that `id` was into the line.
local function wait_on(mine)
	local waiter = {}

	for _, field in ipairs({'host', 'pid', 'user', 'command', 'message', 'kind', 'since'}) do
		waiter[field] = mine[field]
	end
	read_clock()
	call('ZADD', LINE, ticket, id)
	call('HSET', WAITERS, id, cjson.encode(waiter))
	if mine.kind ~= 'exclusive' then
		call('HSET', WAITERS, 'kind', mine.kind)
	end
	show_life(id)
end

-- Returns the holder that `id` was, or nil.
local function release()
	local value = call('GET', LOCK)
	local record = value and call('HGET', HOLDERS, id)
	local mine = record and cjson.decode(record)

	if mine and mine.started and value == id .. '/' .. mine.token then
		call('DEL', LOCK, HOLDERS, stop_key(id)) -- alone: no other is looked at
		return mine
	end

	local held = read_holders()
	mine = held[id]
	if mine and not mine.started and mine.from > now then
		-- What it took over may still run: the lock stays shut until that has
		-- ended, and the next in the line may have it from there on.
		mine.ends = mine.from
		write_holder(id, mine)
		write_lock(held)
	elseif mine then
		drop_holder(id, mine)
		held[id] = nil
		write_lock(held)
	end
	return mine
end

if token then
	local record = call('HGET', HOLDERS, id)

	if record and tonumber(cjson.decode(record).token) > token then
		return 0
	end
end

local held_it = release()
if ARGV[2] == 'lift' and call('GET', COOLDOWN) == id then
	call('DEL', COOLDOWN)
end
if ticket and held_it then
	wait_on(held_it)
end
if first_in_line() then
	read_clock()
	if not ticket and leave_line(id) or held_it then
		prune(id)
		if first_in_line() ~= id then
			wake_first()
		end
	end
end
-- Last, and tried only: out of memory, Redis refuses a script that begins with it;
-- and then it refuses that acquire as well.
if ARGV[3] == 'doubt' then
	redis.pcall('SET', gone_key(id), 1, 'PX', SILENT_MS)
end
return held_it and 1 or 0
