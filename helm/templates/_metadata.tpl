{{/*
Metadata: the one place where labels and annotations are put together. They are mappings here, so that no key
occurs twice: what is more special wins, and over all of it what the chart itself sets, which
`partner-bridge.problems` lets nobody else set.
*/}}

{{/* What never changes in the life of a release: no version in it. Arguments: the root; or `root`, `component`. */}}
{{- define "partner-bridge.selectorLabels" -}}
{{- $root := .root | default . -}}
app.kubernetes.io/name: {{ include "partner-bridge.name" $root | toYaml }}
app.kubernetes.io/instance: {{ $root.Release.Name | toYaml }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* Labels that the chart sets. Arguments: the root; or a dict of `root` and `component`. */}}
{{- define "partner-bridge.ownLabels" -}}
{{- $root := .root | default . -}}
{{ include "partner-bridge.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Mappings as one, of which the later win. Argument: a list of them. */}}
{{- define "partner-bridge.merged" -}}
{{- $all := dict -}}
{{- range . }}{{ range $key, $value := . }}{{ $_ := set $all $key $value }}{{ end }}{{ end -}}
{{- with $all }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* Labels of every object. Arguments: the root; or a dict of `root`, `component` and `more`, a list of mappings. */}}
{{- define "partner-bridge.labels" -}}
{{- $root := .root | default . -}}
{{- $own := include "partner-bridge.ownLabels" . | fromYaml -}}
{{- include "partner-bridge.merged" (concat (list $root.Values.commonLabels) (.more | default list) (list $own)) -}}
{{- end -}}

{{/*
Metadata of an object. Arguments: a dict of `root`; `suffix` or else `name`, where it has not the release's name;
`component`; `of`, the section of values with its `labels` and `annotations`; `own`, annotations that the chart sets.
*/}}
{{- define "partner-bridge.metadata" -}}
name: {{ .name | default (include "partner-bridge.fullname" .) | toYaml }}
namespace: {{ include "partner-bridge.namespace" .root | toYaml }}
{{ include "partner-bridge.labelsAndAnnotations" . }}
{{- end -}}

{{- define "partner-bridge.labelsAndAnnotations" -}}
{{- $of := .of | default dict -}}
labels:
  {{- include "partner-bridge.labels" (dict "root" .root "component" .component "more" (list $of.labels)) | nindent 2 }}
{{- with include "partner-bridge.merged" (list .root.Values.commonAnnotations $of.annotations .own) }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Annotations that the chart sets at every pod: what a restart must follow. */}}
{{- define "partner-bridge.ownPodAnnotations" -}}
checksum/config: {{ include "partner-bridge.files" . | sha256sum }}
{{- with .Values.secrets.restartToken }}
partner-bridge/restart-token: {{ . | quote }}
{{- end }}
{{- end -}}

{{/*
Metadata of the pods that an object makes. Arguments: a dict of `root`, `component`, and `of`, the section of values
with `podLabels` and `podAnnotations` for these pods alone.
*/}}
{{- define "partner-bridge.podMetadata" -}}
{{- $values := .root.Values -}}
{{- $of := .of | default dict -}}
{{- $own := include "partner-bridge.ownPodAnnotations" .root | fromYaml -}}
labels:
  {{- include "partner-bridge.labels" (dict "root" .root "component" .component "more" (list $values.podLabels $of.podLabels)) | nindent 2 }}
annotations:
  {{- include "partner-bridge.merged" (list $values.podAnnotations $of.podAnnotations $own) | nindent 2 }}
{{- end -}}
