-- Arguments of the tool that is called, where rules ask for them: the rules of policies.arguments.
--
-- Reads a body that `scan` has read before: one object, `params` in it at most once, no second spelling of keys there.
-- Stands between bodies.lua and classify.lua in one script.

local MAX_VALUE = @MAX_VALUE@
local PLAIN = '^"([ !#-Z%[%]^-~]*)"' -- printable ASCII without quotation marks and backslashes

-- Where the values of wanted keys of the object at `i` begin. `wanted` is by the key in lower case, to its spelling. Nil: one
-- is there twice, or another key could be read as it.
local function places(s, i, wanted, depth)
  local found, c = {}, nil
  i, c = skip(s, i + 1)
  while c ~= 125 do
    local start = i
    i, c = behind_key(s, i, c)
    local key = i and match(s, PLAIN, start)
    if not key then return nil end
    local spelled = wanted[lower(key)]
    if spelled then
      if key ~= spelled or found[key] then return nil end
      found[key] = i
    end
    i = value(s, i, depth)
    if not i then return nil end
    i, c = skip(s, i)
    if c == 44 then
      i, c = skip(s, i + 1)
      if c ~= 34 then return nil end
    elseif c ~= 125 then
      return nil
    end
  end
  return found
end

local function spellings(names)
  local found = {}
  for _, name in ipairs(names) do
    local folded = lower(name)
    found[folded] = found[folded] and "" or name -- of two that differ only by case, neither may be there
  end
  return found
end

local PARAMS, ARGUMENTS, NONE = {params = "params"}, {arguments = "arguments"}, {}

-- Where wanted arguments stand in a call; nil if they cannot be told.
local function given(s, wanted)
  local top = places(s, (skip(s, 1)), PARAMS, 1)
  local inside = top and byte(s, top.params or 0) == 123 and places(s, top.params, ARGUMENTS, 2)
  if not inside then return nil end
  local at = inside.arguments
  if not at or sub(s, at, at + 3) == "null" then return NONE end
  return byte(s, at) == 123 and places(s, at, spellings(wanted), 3) or nil
end

-- What filters are told of the wanted arguments, which are in order; nil if one is there and is no plain string.
local function told(s, wanted)
  local found, words = given(s, wanted), {}
  if not found then return nil end
  for _, name in ipairs(wanted) do
    words[#words + 1] = '"' .. name
    if found[name] then
      local text = match(s, PLAIN, found[name])
      if not text or #text > MAX_VALUE then return nil end
      words[#words + 1] = "=" .. text
    end
  end
  return table.concat(words) .. '"'
end

