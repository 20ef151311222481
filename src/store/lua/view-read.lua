--[[
  The read of view.lua, whose header says what its arguments are and what `view_reply` holds, for other reads to add to.
]]
--#include open-record.lua
local call = redis.call
local P, T, what = KEYS[1], ARGV[1], ARGV[3]
local meta = call('HGETALL', P)
if #meta == 0 then return false end
local t = call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local field = {}
for i = 1, #meta, 2 do field[meta[i]] = meta[i + 1] end
-- What follows from other keys and so is written nowhere.
local function derive(name, value)
  meta[#meta + 1] = name
  meta[#meta + 1] = string.format('%.0f', value)
end
derive('done', call('HLEN', P .. ':steps'))
derive('answers', call('HLEN', P .. ':signals'))
derive('revision', call('LLEN', P .. ':history') + (field['undone'] or 0))
derive('updated', (field['created'] or 0) + (string.match(call('LINDEX', P .. ':history', '-1') or '', '^%a|(%d+)|') or 0))

local open
if what == 'list' then
  open = call('HSCAN', P .. ':open', '0', 'COUNT', 64)[2]
else
  open = call('HGETALL', P .. ':open')
end

local function worker_info(worker)
  return { worker, call('ZSCORE', KEYS[2], worker) or '0', call('HGETALL', T .. 'worker:' .. worker) }
end

local owners, seen, queues, queue_seen, in_use = {}, {}, {}, {}, {}
for i = 2, #open, 2 do
  local state, token, queue = string.match(open[i], '^(%a)|%d+|%d+|%d+|%d+|([^|]*)|%-?%d*|%-?%d*|%a?|([^|]*)|')
  if state == 'r' then
    local worker = string.match(token, '^([^.]+)') or ''
    if not seen[worker] then
      seen[worker] = true
      owners[#owners + 1] = worker_info(worker)
    end
  end
  if state == 'l' then
    local key = place_of(open_decode(open[i]))
    -- The length alone: a field that is looked up may move others.
    in_use[#in_use + 1], in_use[#in_use + 2] = key, string.format('%d', call('HLEN', T .. 'limit:' .. key .. ':held'))
  end
  if queue and not queue_seen[queue] then
    queue_seen[queue] = true
    local alive_since = '(' .. string.format('%.0f', now - tonumber(ARGV[2]))
    local alive = call('ZREVRANGEBYSCORE', T .. 'serving:' .. queue, '+inf', alive_since, 'LIMIT', 0, 8)
    local entry = { queue, call('ZCOUNT', T .. 'serving:' .. queue, alive_since, '+inf') }
    for _, worker in ipairs(alive) do entry[#entry + 1] = worker_info(worker) end
    queues[#queues + 1] = entry
  end
end

local done, definition = {}, {}
local full = what == 'full' or what == 'line'
local small = tonumber(field['total'] or '0') <= tonumber(ARGV[5])
if full then
  done = call('HGETALL', P .. ':steps')
elseif what == 'resume' and small then
  done = call('HKEYS', P .. ':steps')
elseif what == 'resume' then
  for _, event in ipairs(call('LRANGE', P .. ':history', '-50', '-1')) do
    done[#done + 1] = string.match(event, '^[cno]|%d+|%d+|([^|]+)|')
  end
end
if (full or (what == 'resume' and small)) and field['definition'] ~= ARGV[4] then
  definition = call('HGETALL', T .. 'def:' .. (field['definition'] or ''))
end
local workdir, file, fork = '', '', ''
if full or what == 'resume' then
  local places = call('HMGET', P .. ':origin', 'workdir', 'file', 'fork')
  workdir, file, fork = places[1] or '', places[2] or '', places[3] or ''
end
local stop, state = '', field['state']
if state == 'cancelled' or state == 'paused' or (field['pausing'] or '') ~= '' then
  stop = call('GET', P .. ':stop') or ''
end
local history, decisions, snapshots = {}, {}, {}
if what == 'line' then
  history, decisions = call('LRANGE', P .. ':history', '0', '-1'), call('LRANGE', P .. ':decisions', '0', '-1')
  snapshots = call('LRANGE', P .. ':sandboxes', '0', '-1')
elseif (full or what == 'resume') and (field['sandbox'] or '') ~= '' then
  snapshots = { call('LINDEX', P .. ':sandboxes', tonumber(field['sandbox']) - 1) or '' }
end
local view_reply = { string.format('%d', now), meta, open, owners, queues, done, definition, workdir, stop, history, decisions, snapshots, file,
  fork, in_use }
