-- What a request is, and whether its claims are within the caller's certificate.
--
-- Writes sidecar-only headers, which are all that the filters behind it decide on. `writ-verdict` is set last and only
-- here: whatever goes wrong before leaves it absent, and an absent verdict is denied. Envoy has stripped every
-- `writ-*` header that an application or a peer may not send before this runs.

local EGRESS = @EGRESS@
local EXACT = @EXACT@      -- ["METHOD path"] = {protocol, action, kind, field, name}
local BELOW = @BELOW@      -- {method, stem, protocol, action, kind}
local PATHS = @PATHS@      -- [path] = true, of any method
local FALLBACK = @FALLBACK@
local MAX_DEPTH = @MAX_DEPTH@

local byte, find, sub, lower, gsub = string.byte, string.find, string.sub, string.lower, string.gsub

-- JSON: byte loops outside strings, plain finds inside; both are compiled, patterns over long text are not. ----------

local function skip(s, i)
  local c = byte(s, i)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    i = i + 1
    c = byte(s, i)
  end
  return i, c
end

local function string_end(s, i)
  local j = i + 1
  while true do
    local quote = find(s, '"', j, true)
    if not quote then return nil end
    local b = quote - 1
    while byte(s, b) == 92 do b = b - 1 end
    if (quote - 1 - b) % 2 == 0 then return quote + 1 end
    j = quote + 1
  end
end

local value

local function array(s, i, depth)
  if depth > MAX_DEPTH then return nil end
  local c
  i, c = skip(s, i + 1)
  if c == 93 then return i + 1 end
  while true do
    i = value(s, i, depth)
    if not i then return nil end
    i, c = skip(s, i)
    if c == 93 then return i + 1 end
    if c ~= 44 then return nil end
    i = skip(s, i + 1)
  end
end

local function object(s, i, depth)
  if depth > MAX_DEPTH then return nil end
  local c
  i, c = skip(s, i + 1)
  if c == 125 then return i + 1 end
  while true do
    if c ~= 34 then return nil end
    i = string_end(s, i)
    if not i then return nil end
    i, c = skip(s, i)
    if c ~= 58 then return nil end
    i = skip(s, i + 1)
    i = value(s, i, depth)
    if not i then return nil end
    i, c = skip(s, i)
    if c == 125 then return i + 1 end
    if c ~= 44 then return nil end
    i, c = skip(s, i + 1)
  end
end

value = function(s, i, depth)
  local c = byte(s, i)
  if c == 34 then return string_end(s, i) end
  if c == 123 then return object(s, i, depth + 1) end
  if c == 91 then return array(s, i, depth + 1) end
  if c == 116 then return sub(s, i, i + 3) == "true" and i + 4 or nil end
  if c == 102 then return sub(s, i, i + 4) == "false" and i + 5 or nil end
  if c == 110 then return sub(s, i, i + 3) == "null" and i + 4 or nil end
  local _, last = find(s, "^[-+0-9.eE]+", i)
  return last and last + 1
end

-- A wanted member: a plain string, true, false or null; anything else could be read in two ways.
local function scalar(s, i)
  local c = byte(s, i)
  if c == 34 then
    local quote = find(s, '"', i + 1, true)
    if not quote then return nil end
    local text = sub(s, i + 1, quote - 1)
    if find(text, "[%z\1-\31\\]") then return nil end
    return quote + 1, text
  end
  if sub(s, i, i + 3) == "true" then return i + 4, true end
  if sub(s, i, i + 4) == "false" then return i + 5, false end
  if sub(s, i, i + 3) == "null" then return i + 4, nil end
  return nil
end

-- {model = …, stream = …} of the top-level object, or nil if any parser could see something else.
local function scan(s, field)
  local found, seen = {}, {}
  local i, c = skip(s, 1)
  if c ~= 123 then return nil end
  i, c = skip(s, i + 1)
  if c == 125 then
    i = i + 1
  else
    while true do
      if c ~= 34 then return nil end
      local quote = find(s, '"', i + 1, true)
      if not quote then return nil end
      local key = sub(s, i + 1, quote - 1)
      if find(key, "[^ -~]") or find(key, "\\", 1, true) then return nil end -- no second spelling of a key
      i, c = skip(s, quote + 1)
      if c ~= 58 then return nil end
      i = skip(s, i + 1)
      local folded = lower(key)
      if folded == field or folded == "stream" then
        if key ~= folded or seen[key] then return nil end
        seen[key] = true
        i, found[key] = scalar(s, i)
        if key == "stream" and type(found[key]) == "string" then return nil end -- "true" is true to some
      else
        i = value(s, i, 1)
      end
      if not i then return nil end
      i, c = skip(s, i)
      if c == 125 then i = i + 1 break end
      if c ~= 44 then return nil end
      i, c = skip(s, i + 1)
    end
  end
  i = skip(s, i)
  return i == #s + 1 and found or nil
end

-- Claims. -------------------------------------------------------------------------------------------------------------

-- Each call into Envoy costs more than all the Lua of a claim: what is already right is not written again.
local function write(headers, name, given, value)
  if given ~= value then headers:replace(name, value) end
end

-- A claim that occurs twice comes joined with a comma, and is refused like any other character that has no place in it.
local function single(headers, name)
  local claim = headers:get(name)
  if claim == nil then return nil, true end
  return claim, #claim >= 1 and #claim <= 48 and not find(claim, "[^a-z0-9-]")
end

-- The only value of an attribute in a subject; nil when there is none, false when there are several.
local function only(subject, unit)
  local first, at = find(subject, "OU=" .. unit .. ":", 1, true)
  if not first then return nil end
  if find(subject, "OU=" .. unit .. ":", at, true) then return false end
  return sub(subject, at + 1, find(subject, ",", at, true) - 1)
end

-- Are the claims within the certificate? Then they are written down, completed by what it says.
local function claims(headers, subject)
  local given, good_purpose = single(headers, "writ-purpose")
  local claimed, good_class = single(headers, "writ-data-class")
  local region, good_region = single(headers, "writ-subject-region")
  if not (good_purpose and good_class and good_region) then return nil end
  local purpose = given or only(subject, "purpose")
  if not purpose or not find(subject, "OU=purpose:" .. purpose .. ",", 1, true) then return nil end
  local floor, ceiling = only(subject, "class-floor"), only(subject, "class-ceiling")
  if not floor or not ceiling then return nil end
  local class = claimed or ceiling
  if #class ~= 1 or class < "0" or class > "4" then return nil end
  if class < floor then class = floor end
  if class > ceiling then return nil end
  local area = region or only(subject, "region")
  if area == false then return nil end
  if region and not find(subject, "OU=region:" .. region .. ",", 1, true) then return nil end
  write(headers, "writ-purpose", given, purpose)
  write(headers, "writ-data-class", claimed, class)
  if area then write(headers, "writ-subject-region", region, area) end
  return true
end

-- One request. --------------------------------------------------------------------------------------------------------

-- Paths that servers read differently: rule (1) of policies.requests.
local function needless(escape)
  if not find(escape, "^%x%x$") then return true end
  local code = tonumber(escape, 16)
  return code < 32 or code == 127 or find(string.char(code), "[A-Za-z0-9._~/\\;%%-]") ~= nil
end

local function ambiguous(path)
  if not find(path, "^/[!-~]*$") or find(path, "[\\;#]") or find(path, "//", 1, true) or find(path .. "/", "/%.%.?/") then
    return true
  end
  for escape in string.gmatch(path, "%%(.?.?)") do
    if needless(escape) then return true end
  end
  local folded = lower(path)
  if PATHS[(gsub(folded, "/+$", ""))] and not PATHS[path] then return true end
  for _, below in ipairs(BELOW) do
    local stem = below[2]
    if sub(folded, 1, #stem) == stem and sub(path, 1, #stem) ~= stem then return true end
  end
  return false
end

local function endpoint(method, path)
  local row = EXACT[method .. " " .. path]
  if row then return row, row[5] end
  for _, below in ipairs(BELOW) do
    if method == below[1] and sub(path, 1, #below[2]) == below[2] then
      local name = sub(path, #below[2] + 1)
      if find(name, "^[A-Za-z0-9._:-]+$") and #name <= 128 then return below[3], name end
    end
  end
  return FALLBACK, FALLBACK[5]
end

local function read_body(handle, headers, row)
  if headers:get("content-encoding") ~= nil then return nil end
  local kind = lower(headers:get("content-type") or "")
  if find(kind, "charset", 1, true) and not find(kind, '^[^;,]*;[ \t]*charset="?utf%-8"?[ \t]*$') then return nil end
  local body = handle:body()
  local length = body and body:length() or 0
  if length == 0 then return nil end
  local found = scan(body:getBytes(0, length), row[4])
  local name = found and found[row[4]]
  if type(name) ~= "string" or #name > 128 or find(name, "[^A-Za-z0-9._:/-]") or name == "" then return nil end
  return name, found.stream == true
end

local function identify(handle)
  if EGRESS then
    return handle:metadata():get("subject"), handle:metadata():get("peer")
  end
  local tls = handle:streamInfo():downstreamSslConnection()
  return tls and tls:subjectPeerCertificate(), nil
end

local function request_id(headers)
  local given = not EGRESS and headers:get("writ-request-id") or nil
  if given and #given == 36 and not find(given, "[^0-9a-f-]") then return end
  headers:replace("writ-request-id", headers:get("x-request-id"))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  request_id(headers)
  local subject, peer = identify(handle)
  if not subject then return end
  if peer then headers:replace("writ-peer", peer) end
  local method = headers:get(":method")
  local path = gsub(headers:get(":path"), "?.*", "")
  local odd = ambiguous(path)
  local row, name = endpoint(method, path)
  if odd then row, name = FALLBACK, nil end
  headers:replace("writ-path", path)
  headers:replace("writ-protocol", row[1])
  headers:replace("writ-action", row[2])
  local verdict, body, stream = "ok", "none", false
  if odd then verdict, body = "unreadable_body", "unread" end
  if not claims(headers, subject) then verdict = "claim_not_allowed" end
  if row[4] ~= "" then
    body = "unread"
    if verdict == "ok" then
      name, stream = read_body(handle, headers, row)
      headers = handle:headers() -- waiting for the body ends the life of what was taken before
      if name then body = "read" else verdict = "unreadable_body" end
    end
  end
  headers:replace("writ-body", body)
  headers:replace("writ-stream", stream and "true" or "false")
  if name and name ~= "" then headers:replace("writ-resource", row[3] .. "/" .. name) end
  if not EGRESS then handle:clearRouteCache() end
  headers:replace("writ-verdict", verdict)
end
