{{/* Files that the control plane's settings name, for every pod that reads those settings. */}}
{{- define "writ.secretMounts" -}}
- { name: keys, mountPath: /etc/writ/keys, readOnly: true }
{{- if .Values.store.tlsSecret }}
- { name: etcd-tls, mountPath: /etc/writ/etcd, readOnly: true }
{{- end }}
{{- if .Values.store.passwordSecret }}
- { name: etcd-password, mountPath: /etc/writ/etcd-password, readOnly: true }
{{- end }}
{{- if .Values.controlplane.oidcCaSecret }}
- { name: oidc-ca, mountPath: /etc/writ/oidc, readOnly: true }
{{- end }}
{{- end -}}

{{- define "writ.secretVolumes" -}}
- name: keys
  secret: { secretName: {{ include "writ.keysSecret" . }}, defaultMode: 0440 }
- name: scripts
  configMap: { name: {{ include "writ.fullname" . }}-scripts }
- name: config
  configMap: { name: {{ include "writ.fullname" . }}-controlplane }
{{- with .Values.store.tlsSecret }}
- name: etcd-tls
  secret: { secretName: {{ . }}, defaultMode: 0440 }
{{- end }}
{{- with .Values.store.passwordSecret }}
- name: etcd-password
  secret: { secretName: {{ . }}, defaultMode: 0440 }
{{- end }}
{{- with .Values.controlplane.oidcCaSecret }}
- name: oidc-ca
  secret: { secretName: {{ . }}, defaultMode: 0440 }
{{- end }}
{{- end -}}

{{/* A replica's name and address are its pod's. Only with etcd: the embedded control plane has no equals. */}}
{{- define "writ.replicaEnv" -}}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
{{- if ne .Values.store.profile "embedded" }}
{{- if not .Values.controlplane.config.replica.name }}
- { name: WRIT_REPLICA__NAME, value: $(POD_NAME) }
{{- end }}
{{- if not .Values.controlplane.config.replica.address }}
- name: WRIT_REPLICA__ADDRESS
  value: $(POD_NAME).{{ include "writ.fullname" . }}-replicas.{{ .Release.Namespace }}.svc:{{ include "writ.port" .Values.controlplane.config.server.listen }}
{{- end }}
{{- end }}
{{- end -}}
