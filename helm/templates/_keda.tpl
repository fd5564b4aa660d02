{{/*
What KEDA needs to sign in to Kafka, as JSON: each of its parameters, and where the bridge has that from. That is a
`secret` or `configMap` and the `key` in it, a variable `env` of the bridge, or a `literal` of `config`. As for the
bridge, the environment goes over `secrets`, and those over `config`. Paths of files that only the pod has are left
out: KEDA cannot read them.
*/}}
{{- define "partner-bridge.kedaParameters" -}}
{{- $kafka := .Values.config.kafka | default dict -}}
{{- $texts := dict "sasl.username" "username" "sasl.password" "password" "ssl.key.password" "keyPassword" "ssl.ca.pem" "ca" "ssl.certificate.pem" "cert" "ssl.key.pem" "key" -}}
{{- $files := dict "ssl.ca.location" "ca" "ssl.certificate.location" "cert" "ssl.key.location" "key" -}}
{{- $found := dict -}}
{{- range $setting, $parameter := pick $texts "sasl.username" "ssl.ca.pem" "ssl.certificate.pem" -}}
{{- with index $kafka $setting }}{{ $_ := set $found $parameter (dict "literal" .) }}{{ end -}}
{{- end -}}
{{- range $setting, $parameter := $files -}}
{{- $file := index $kafka $setting | default "" -}}
{{- if and (hasPrefix "/etc/partner-bridge/" $file) (hasKey $.Values.files (base $file)) -}}
{{- $_ := set $found $parameter (dict "configMap" (include "partner-bridge.fullname" $) "key" (base $file)) -}}
{{- end -}}
{{- end -}}
{{- range (include "partner-bridge.secrets" . | fromJson).groups -}}
{{- if eq .section "kafka" -}}
{{- range concat .settings .files -}}
{{- $parameter := get $texts .setting | default (get $files .setting) -}}
{{- if $parameter }}{{ $_ := set $found $parameter (omit . "setting") }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $variables := dict -}}
{{- range .Values.extraEnv }}{{ $_ := set $variables (.name | default "") true }}{{ end -}}
{{- range $setting, $parameter := $texts -}}
{{- $variable := include "partner-bridge.variable" (dict "section" "kafka" "setting" $setting) -}}
{{- if hasKey $variables $variable }}{{ $_ := set $found $parameter (dict "env" $variable) }}{{ end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The mechanism of SASL, in librdkafka's words; empty where there is none. */}}
{{- define "partner-bridge.saslMechanism" -}}
{{- $kafka := .Values.config.kafka | default dict -}}
{{- index $kafka "sasl.mechanism" | default (index $kafka "sasl.mechanisms") | default "" | upper -}}
{{- end -}}

{{/* The Region of Amazon MSK, which its host names hold; else that of EventBridge. The bridge takes the same. */}}
{{- define "partner-bridge.mskRegion" -}}
{{- $brokers := index .Values.config.kafka "bootstrap.servers" | default "" -}}
{{- $found := regexFind "[.]kafka(-serverless)?[.][a-z0-9-]+[.]amazonaws[.]com" $brokers -}}
{{- $found | splitList "." | reverse | rest | rest | first | default .Values.config.eventbridge.region | default "" -}}
{{- end -}}

{{/* Whether KEDA can sign in where the bridge can. */}}
{{- define "partner-bridge.kedaProblems" -}}
{{- $kafka := .Values.config.kafka | default dict -}}
{{- $mechanism := include "partner-bridge.saslMechanism" . -}}
{{- $parameters := include "partner-bridge.kedaParameters" . | fromJson -}}
{{- if and (eq (toString $kafka.auth) "aws-msk-iam") (not (include "partner-bridge.mskRegion" .)) (not .Values.keda.triggerMetadata.awsRegion) }}
keda.enabled is true and neither the brokers' names nor config.eventbridge.region say in which Region MSK is, and KEDA signs in to it there: set keda.triggerMetadata.awsRegion.
{{- end }}
{{- if not .Values.keda.authenticationRef -}}
{{- if and $mechanism (not (has $mechanism (list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512"))) }}
config.kafka."sasl.mechanism" is `{{ $mechanism }}`, for which this chart cannot write KEDA's TriggerAuthentication: make one, and name it in keda.authenticationRef.
{{- else if $mechanism }}
{{- range $parameter := list "username" "password" }}
{{- if not (hasKey $parameters $parameter) }}
keda.enabled is true and secrets.kafka.settings."sasl.{{ $parameter }}" is not set, so KEDA could not sign in to Kafka: set it to the key in the Secret, or name a TriggerAuthentication in keda.authenticationRef.
{{- end }}
{{- end }}
{{- end }}
{{- range $setting, $parameter := dict "ssl.ca.location" "ca" "ssl.certificate.location" "cert" "ssl.key.location" "key" }}
{{- $file := index $kafka $setting | default "" }}
{{- /* KEDA's own image has the usual CAs as well. */}}
{{- if and $file (not (hasKey $parameters $parameter)) (not (and (eq $parameter "ca") (regexMatch "^(probe$|/etc/(ssl|pki)/|/usr/)" $file))) }}
config.kafka."{{ $setting }}" is `{{ $file }}`, a file of the pod that KEDA cannot read: say in secrets.kafka.files."{{ $setting }}" which Secret or ConfigMap it is from, as `{configMap: kafka-ca, key: ca.crt}`, or name a TriggerAuthentication in keda.authenticationRef.
{{- end }}
{{- end }}
{{- range $setting := list "ssl.keystore.location" "ssl.ca.certificate.stores" "ssl.engine.location" }}
{{- if or (hasKey $kafka $setting) (hasKey $.Values.secrets.kafka.files $setting) }}
Kafka's setting "{{ $setting }}" is set, which KEDA does not know: give the certificates as PEM, with `ssl.ca.location`, `ssl.certificate.location` and `ssl.key.location` in secrets.kafka.files, or name a TriggerAuthentication in keda.authenticationRef.
{{- end }}
{{- end }}
{{- if ne (hasKey $parameters "cert") (hasKey $parameters "key") }}
keda.enabled is true and Kafka's client certificate is named without its key, or the key without the certificate, and KEDA needs both: set secrets.kafka.files."ssl.certificate.location" and "ssl.key.location".
{{- end }}
{{- end }}
{{- end -}}
