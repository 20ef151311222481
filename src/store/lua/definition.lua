--[[
  When something was last begun under a definition stands in <tag>:definitions (zset, digest -> ms), to the hour: a prune
  removes those that no plan has and that nobody has used for a day. Noted before the write that names the definition.
]]
local NOTED_EVERY_MS = 3600000

local function definition_used(T, digest, now)
  local at = call('ZSCORE', T .. 'definitions', digest)
  if not at or now - at >= NOTED_EVERY_MS then call('ZADD', T .. 'definitions', now_text, digest) end
end
