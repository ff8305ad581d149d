{{- define "writ.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of one component: (list . "controlplane") */}}
{{- define "writ.labels" -}}
{{- $root := index . 0 -}}
{{ include "writ.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: writ
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- define "writ.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Image of one component: (list . "controlplane") */}}
{{- define "writ.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.images (index . 1) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "writ.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* TOML of a tree of one level of sections. JSON's scalars and lists are TOML's; null is left out. */}}
{{- define "writ.toml" -}}
{{- range $key, $value := . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $section, $entries := . }}
{{- if kindIs "map" $entries }}

[{{ $section }}]
{{- range $key, $value := $entries }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "writ.tomlValue" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Lists and tables within a section are written inline; everything else is as in JSON. */}}
{{- define "writ.tomlValue" -}}
{{- if kindIs "map" . -}}
{ {{- $first := true }}{{ range $key, $value := . }}{{ if not $first }}, {{ end }}{{ $first = false }}{{ $key }} = {{ include "writ.tomlValue" $value }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{ range $index, $value := . }}{{ if $index }}, {{ end }}{{ include "writ.tomlValue" $value }}{{ end }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{- define "writ.port" -}}
{{- last (splitList ":" .) | int -}}
{{- end -}}

{{- define "writ.keysSecret" -}}
{{- default (printf "%s-keys" (include "writ.fullname" .)) .Values.secrets.existingKeys -}}
{{- end -}}

{{- define "writ.rootSecret" -}}
{{- default (printf "%s-root" (include "writ.fullname" .)) .Values.secrets.existingRoot -}}
{{- end -}}

{{- define "writ.operatorSecret" -}}
{{- default (printf "%s-operator" (include "writ.fullname" .)) .Values.gitops.operatorSecret -}}
{{- end -}}

{{- define "writ.address" -}}
{{- printf "%s.%s.svc:%s" (include "writ.fullname" .) .Release.Namespace (include "writ.port" .Values.controlplane.config.server.listen) -}}
{{- end -}}

{{- define "writ.enrolmentAddress" -}}
{{- $config := .Values.controlplane.config.server -}}
{{- default (printf "%s.%s.svc:%s" (include "writ.fullname" .) .Release.Namespace (include "writ.port" $config.enrolment_listen)) $config.enrolment_address -}}
{{- end -}}

{{- define "writ.etcdEndpoints" -}}
{{- $name := include "writ.fullname" . -}}
{{- $found := list -}}
{{- range $i := until (int .Values.store.bundled.members) -}}
{{- $found = append $found (printf "%s-etcd-%d.%s-etcd.%s.svc:2379" $name $i $name $.Release.Namespace) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* What every container of ours may do: nothing. */}}
{{- define "writ.locked" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "writ.unprivileged" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What cannot work ends here, with the way out. */}}
{{- define "writ.check" -}}
{{- $plane := .Values.controlplane -}}
{{- if $plane.enabled -}}
{{- $_ := required "controlplane.config.trust_domain is missing: the name of the mesh, such as acme.example" $plane.config.trust_domain -}}
{{- if and (gt (int $plane.replicas) 1) (eq .Values.store.profile "embedded") -}}
{{- fail "controlplane.replicas is more than 1, but SQLite serves one: set store.profile to bundled or external" -}}
{{- end -}}
{{- if and (eq .Values.store.profile "external") (not $plane.config.store.endpoints) -}}
{{- fail "store.profile is external: give controlplane.config.store.endpoints" -}}
{{- end -}}
{{- end -}}
{{- if .Values.gitops.enabled -}}
{{- $given := 0 -}}
{{- range list .Values.gitops.files .Values.gitops.configMap .Values.gitops.volume -}}
{{- if . -}}{{- $given = add1 $given -}}{{- end -}}
{{- end -}}
{{- if ne (int $given) 1 -}}
{{- fail "gitops needs exactly one of gitops.files, gitops.configMap, gitops.volume" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.agent.enabled (not $plane.enabled) (not .Values.agent.config.control_plane.address) -}}
{{- fail "agent.config.control_plane.address is missing: this release has no control plane" -}}
{{- end -}}
{{- end -}}

{{- define "writ.endpointPorts" -}}
{{- $found := list -}}
{{- range .Values.controlplane.config.store.endpoints -}}
{{- $found = append $found (include "writ.port" .) -}}
{{- end -}}
{{- join " " $found -}}
{{- end -}}
