import com.amazonaws.services.schemaregistry.common.configs.GlueSchemaRegistryConfiguration;
import com.amazonaws.services.schemaregistry.serializers.SerializationDataEncoder;
import java.util.HexFormat;
import java.util.Map;
import java.util.UUID;

/** Frames a value with AWS's own serializer, plain and compressed. */
public class GlueValues {
  public static void main(String[] arguments) {
    UUID version = UUID.fromString("b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63");
    byte[] value = {4, 'h', 'i'};
    System.out.println("{\"made_by\": \"schema-registry-serde " + arguments[0] + "\", \"version\": \"" + version + "\",");
    String separator = "";
    for (String compression : new String[] {"NONE", "ZLIB"}) {
      var settings = new GlueSchemaRegistryConfiguration(Map.of("region", "eu-central-1", "compression", compression));
      byte[] framed = new SerializationDataEncoder(settings).write(value, version);
      System.out.println(separator + "\"" + compression + "\": \"" + HexFormat.of().formatHex(framed) + "\"");
      separator = ", ";
    }
    System.out.println("}");
  }
}
