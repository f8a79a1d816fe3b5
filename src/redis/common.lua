-- common.lua: what stands before each of the other scripts, in one text.
--
-- A lock NAME has these keys, all with the hash tag {NAME}:
--
-- KEYS  1 the lock: a string with an expiry, as any client makes it by SET NX
--         PX: "<id>/<token>" of an exclusive holder, "shared", or "slots:<N>"
--       2 the highest fencing token that was ever given; without expiry
--       3 holders: a hash, id -> JSON; it counts only while the lock is there
--       4 the line: a sorted set, id -> ticket, a number that only grows
--       5 signs of life of those who wait: a sorted set, id -> server time, ms
--       6 waiters: a hash, id -> JSON; also "kind", and "patience" (see prune)
--       7 the cooldown: a string with an expiry, the id of the run it began with
--       8 the epoch of the server, of all locks together (see check_epoch);
--         without expiry
--
-- and more of a single id:
--
--       <lock>:lease:<id>   lives as long as the lease of a holder that need not
--                           be alone; the others' is the life of the lock itself
--       <lock>:wake:<id>    a stream that one who waits reads from, blocking: an
--                           entry asks it to come and claim
--       <lock>:stop:<id>    who has asked that holder to end, for people, behind
--                           which asking it is, and a blank
--       <lock>:gone:<id>    there while an acquire that the id has sent before it
--                           released may still be on its way
--
-- To renew is to move an expiry, which Redis does also when it is out of memory.
--
-- A holder is {token, kind, spare, from, started, since, host, pid, user, command,
-- message}, and, as it is read, `ends`, of its lease.  kind: "exclusive", "shared"
-- or "slots:<N>".  spare: that many ms before its end, the lease may be taken
-- over.  from, started: who takes over holds the lock at once, but may not start
-- before the lease that it took over would have ended; until it has started,
-- nothing runs under its lease.

local LOCK, TOKEN, HOLDERS, LINE, BEATS, WAITERS, COOLDOWN, EPOCH = unpack(KEYS)

-- Who waits gives a sign of life each BEAT_MS, and leaves the line when none
-- came for SILENT_MS: enough for two to be missed.
local BEAT_MS = 1200
local SILENT_MS = 2700

-- Longer than any lease.
local FOREVER_MS = 86400000

-- Other clients' locks end without a word: ask again so often.
local FOREIGN_MS = 100

-- Longer than any pause of the line as a whole; what is left over goes then.
local LEFTOVER_MS = 60000

-- Tokens of a new epoch are so much ahead of the clock: it may be another
-- server's, which is behind.
local TOKEN_JUMP_US = 3600 * 1000000

-- And so much ahead of where those of the last epoch began: more than one lock can
-- have given in an hour, were its own count lost.  No more than that, or each restart
-- would take the tokens further ahead of a server that has to begin by its clock.
local TOKENS_UNSEEN = 4 * 1000000
local EPOCHS_MISSED_MOST = 16

local call = redis.call

-- A text of others, for people: as much as cflock itself may have written.
local function cut(text)
	return string.sub(tostring(text or ''), 1, 2048)
end

-- Server time, in us, and in ms rounded down.  Not there before read_clock().
local now_us, now

local function read_clock()
	local clock = call('TIME')

	now_us = clock[1] * 1000000 + clock[2]
	now = math.floor(now_us / 1000)
end

-- What lives as long as the lease of a holder.
local function lease_key(id, holder)
	return holder.kind == 'exclusive' and LOCK or LOCK .. ':lease:' .. id
end

-- Reads the clock.  Returns the holders by id, without those whose leases have
-- ended; or none, and the value of the lock, when that is of a client that is not
-- cflock.
local function read_holders()
	local value = call('GET', LOCK)
	local known = call('HGETALL', HOLDERS)
	local held = {}

	if not value then
		if #known > 0 then -- of a lock that somebody has deleted
			call('DEL', HOLDERS)
		end
		read_clock()
		return held
	end
	local ours = value == 'shared' or string.sub(value, 1, 6) == 'slots:'
	for i = 1, #known, 2 do
		local id, holder = known[i], cjson.decode(known[i + 1])
		ours = ours or value == id .. '/' .. holder.token
		local left = call('PTTL', lease_key(id, holder))
		if left > 0 then
			holder.left = left
			held[id] = holder
		elseif left == -1 then -- somebody has made it last for ever
			holder.left = FOREVER_MS
			held[id] = holder
		else
			call('HDEL', HOLDERS, id)
		end
	end
	-- Behind the expiries: had the server stalled in between, leases would seem
	-- to end before they do.
	read_clock()
	for _, holder in pairs(held) do
		holder.ends = now + 1 + holder.left
		holder.left = nil
	end
	if not ours or not next(held) then
		return {}, value
	end
	return held
end

-- Writes the lock and the expiry of the holders' key so as to fit `held`.
local function write_lock(held)
	local ends, value = now, nil

	for id, holder in pairs(held) do
		ends = math.max(ends, holder.ends)
		value = holder.kind
		if value == 'exclusive' then
			value = id .. '/' .. holder.token
		end
	end
	if not value then
		call('DEL', LOCK, HOLDERS)
		return
	end
	call('PEXPIRE', HOLDERS, ends - now)
	call('SET', LOCK, value, 'PX', ends - now)
end

-- Writes down a holder that read_holders() has not read yet, or has changed.
local function write_holder(id, holder)
	call('HSET', HOLDERS, id, cjson.encode(holder))
	if lease_key(id, holder) ~= LOCK then
		call('SET', lease_key(id, holder), 1, 'PX', holder.ends - now)
	end
end

local function stop_key(id)
	return LOCK .. ':stop:' .. id
end

local function drop_holder(id, holder)
	call('HDEL', HOLDERS, id)
	call('DEL', stop_key(id))
	if lease_key(id, holder) ~= LOCK then
		call('DEL', lease_key(id, holder))
	end
end

-- Returns the id of the first in the line, or nil.
local function first_in_line()
	return call('ZRANGE', LINE, 0, 0)[1]
end

-- Takes `id` out of the line.  Returns true when it stood there.
local function take_out(id)
	if call('ZREM', LINE, id) == 0 then
		return false
	end
	call('ZREM', BEATS, id)
	call('HDEL', WAITERS, id)
	if call('EXISTS', LINE) == 0 then
		call('DEL', WAITERS)
	end
	return true
end

-- Takes those out of the line who are silent, except `id`.
--
-- When all are, it was more likely we who could not hear them: a server that was
-- frozen, a network that was cut.  Then all keep their places for as long again,
-- once, so that the order survives.
local function prune(id)
	local first = first_in_line()
	local beat = first and tonumber(call('ZSCORE', BEATS, first) or nil)

	-- Lost, or from before the clock was set back: it would stay for ever.
	if first and (not beat or beat > now) then
		call('ZADD', BEATS, now, first)
		call('PEXPIRE', BEATS, LEFTOVER_MS)
	end

	local silent = call('ZRANGEBYSCORE', BEATS, '-inf', now - SILENT_MS)

	if #silent == 0 then
		return
	end
	local last = tonumber(call('ZREVRANGE', BEATS, 0, 0, 'WITHSCORES')[2])
	local patience = tonumber(call('HGET', WAITERS, 'patience') or 0)
	if last <= now - SILENT_MS and last > patience - SILENT_MS then
		patience = now + SILENT_MS
		call('HSET', WAITERS, 'patience', patience)
		call('PEXPIRE', WAITERS, LEFTOVER_MS)
	end
	if now < patience then
		return
	end
	for _, other in ipairs(silent) do
		if other ~= id then
			take_out(other)
		end
	end
end

-- ms until the first in the line, if it stays silent, is taken out of it.
local function until_pruned(first)
	local beat = tonumber(call('ZSCORE', BEATS, first) or 0)

	if beat > now - SILENT_MS then
		return beat + SILENT_MS + 1 - now
	end
	return math.max(1, (call('HGET', WAITERS, 'patience') or 0) - now)
end

-- A sign of life of `id`, which stands in the line.
local function show_life(id)
	call('ZADD', BEATS, now, id)
	for _, key in ipairs({LINE, BEATS, WAITERS}) do
		call('PEXPIRE', key, LEFTOVER_MS)
	end
end

local function gone_key(id)
	return LOCK .. ':gone:' .. id
end

local function wake_key(id)
	return LOCK .. ':wake:' .. id
end

-- Asks the first in the line to come.
local function wake_first()
	local first = first_in_line()

	if first then
		call('XADD', wake_key(first), 'MAXLEN', 1, '*', 'come', 1)
		call('PEXPIRE', wake_key(first), SILENT_MS)
	end
end

-- Gives up the place of `id`.  Returns true when it stood in the line.
local function leave_line(id)
	call('DEL', wake_key(id))
	return take_out(id)
end


-- True when the server has been emptied, at some time since it was started.
local function was_flushed()
	local stats = call('INFO', 'commandstats')

	return string.find(stats, 'cmdstat_flush') or string.find(stats, 'cmdstat_swapdb')
end

-- Of the sentinels, in the value of EPOCH.
local function known_config_epoch(epoch)
	return tonumber(string.match(epoch or '', '^%x+ %x+ %d+ %d+ %a+ (%d+)$')) or 0
end

-- Compares the server with what it was when a lease was last given, `epoch`, the
-- value of EPOCH: another process, a fail-over to a replica, or one that has been
-- emptied may have forgotten leases that still stand.  One to which sentinels have
-- gone back before they made it a replica has never known of those that were given
-- meanwhile; that shows only in the config epoch, which grows with each fail-over;
-- 0 without sentinels.
--
-- Then, for one ttl, there are no new grants: the grace period, as in NFS (RFC 8881,
-- 8.4.2).  Needs the clock.  Returns
--   ms of it that are left for leases of `ttl`, 0 or less when it is over
--   the least token of this epoch
--   what has begun it, "restart", "failover", "failback" to a server that is the
--   same, or "flush", and when, in ms
--
-- It begins with the start of the process, where that is what has happened, else
-- when it is noticed, which is later.  A process that has never been a replica
-- and was started long ago forgot what it did then, so the first use of all needs
-- no grace, unless sentinels have named another since they are there.
local function check_epoch(epoch, ttl, config_epoch)
	local server = call('INFO', 'server')
	local replication = call('INFO', 'replication')
	local run, line = string.match(server, 'run_id:(%x+)'),
		string.match(replication, 'master_replid:(%x+)')
	local old_run, old_line, began, least, why =
		string.match(epoch or '', '^(%x+) (%x+) (%d+) (%d+) (%a+)')

	if not (run and line) then
		return 0, 0, '', 0 -- no server that is known does so
	end
	if old_run and tonumber(least) >= 2^53 then -- malformed
		epoch, old_run, least = nil, nil, nil
	end
	local begins_later = old_run and tonumber(began) > now + 1000
	local known_config = known_config_epoch(epoch)
	local missed = config_epoch - known_config

	-- The clock has been set back: what began before then has to begin again.
	if begins_later then
		began = now
	end
	if run ~= old_run or line ~= old_line or begins_later or missed > 0 then
		local uptime = tonumber(string.match(server, 'uptime_in_seconds:(%d+)') or 0)
		-- All zeros: this process has never followed another, or loaded its data.
		local promoted = missed > 0 or
			string.find(replication, 'master_replid2:0*[1-9a-f]')
		-- Those in between, of which nothing is known here, have begun so, too.
		local epochs = math.max(1, math.min(missed, EPOCHS_MISSED_MOST))

		if run ~= old_run or (line ~= old_line or missed > 0) and promoted then
			-- Both were rounded down to a second.
			began = (math.floor(now / 1000) - uptime + 1) * 1000
			why = 'restart'
			if promoted or not epoch and was_flushed() then
				began = now
				why = run == old_run and line == old_line and 'failback' or
					epoch and uptime * 1000 < ttl and why or
					promoted and 'failover' or 'flush'
			end
			least = math.max((least or 0) + epochs * TOKENS_UNSEEN,
				now_us + TOKEN_JUMP_US)
		end
		-- Sentinels that were set up anew count from 0 again.
		if missed > 0 or run ~= old_run and config_epoch > 0 then
			known_config = config_epoch
		end
		call('SET', EPOCH, string.format('%s %s %.0f %.0f %s %.0f', run, line, began,
			least, why, known_config))
	end
	return began + ttl - now, tonumber(least), why, tonumber(began)
end
