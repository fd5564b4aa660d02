{{/*
Completes the values, so that no template meets a null. Every template begins with it: Helm renders them in no
certain order, and all of them see the same values.

Null takes away: a topic, a label or a setting of an earlier file of values is gone. Of the chart's own sections
and single values the default is back then (`_defaults.tpl`), since Helm takes that away as well.
*/}}
{{- define "partner-bridge.completeValues" -}}
{{- $_ := set . "Values" (deepCopy .Values) -}}
{{- include "partner-bridge.withoutNulls" (dict "values" .Values "under" "") -}}
{{- include "partner-bridge.withDefaults" (dict "values" .Values "defaults" (include "partner-bridge.defaults" . | fromYaml)) -}}
{{- /* The environment may have all of such a section: see `partner-bridge.given`. */ -}}
{{- include "partner-bridge.withDefaults" (dict "values" .Values.config "defaults" (dict "kafka" dict "eventbridge" dict "dead_letter" dict)) -}}
{{- end -}}

{{/* Takes nulls out of `values`, a mapping at the key `under`, at any depth. */}}
{{- define "partner-bridge.withoutNulls" -}}
{{- $values := .values -}}
{{- $under := .under -}}
{{- range $key, $value := $values -}}
{{- if and (eq $under "event") (has $key (list "detail" "metadata")) -}}
{{- /* To the application null is a value there, as every other. */ -}}
{{- else if kindIs "invalid" $value -}}
{{- $_ := unset $values $key -}}
{{- else if kindIs "map" $value -}}
{{- include "partner-bridge.withoutNulls" (dict "values" $value "under" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Puts what is missing in `values` from `defaults`, at any depth. Sprig's `merge` takes false for missing. */}}
{{- define "partner-bridge.withDefaults" -}}
{{- $values := .values -}}
{{- range $key, $default := .defaults -}}
{{- if not (hasKey $values $key) -}}
{{- $_ := set $values $key $default -}}
{{- else if kindIs "map" $default -}}
{{- include "partner-bridge.withDefaults" (dict "values" (index $values $key) "defaults" $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}
