import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.util.HexFormat;
import org.apache.avro.NameValidator;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.message.BinaryMessageEncoder;

/** Writes values with Apache Avro for Java: what it takes for legal, and the bytes it makes of it. */
public class AvroValues {
  private static final String FREE =
      "{\"type\":\"record\",\"name\":\"Free\",\"namespace\":\"\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"}]}";

  private static final String[][] CASES = {
    {
      "a type of the null namespace, by its short name",
      "{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"n\",\"fields\":[{\"name\":\"a\",\"type\":" + FREE
          + "},{\"name\":\"b\",\"type\":\"Free\"}]}",
      "{\"a\":{\"x\":1},\"b\":{\"x\":2}}"
    },
    {
      "the same from within a record of another namespace",
      "{\"type\":\"record\",\"name\":\"n.R\",\"fields\":[{\"name\":\"a\",\"type\":" + FREE
          + "},{\"name\":\"c\",\"type\":{\"type\":\"record\",\"name\":\"m.In\",\"fields\":[{\"name\":\"f\","
          + "\"type\":\"Free\"}]}}]}",
      "{\"a\":{\"x\":1},\"c\":{\"f\":{\"x\":3}}}"
    },
    {
      "a name of both namespaces",
      "{\"type\":\"record\",\"name\":\"n.R\",\"fields\":[{\"name\":\"a\",\"type\":" + FREE
          + "},{\"name\":\"b\",\"type\":{\"type\":\"fixed\",\"name\":\"Free\",\"namespace\":\"n\",\"size\":1}},"
          + "{\"name\":\"c\",\"type\":\"Free\"}]}",
      "{\"a\":{\"x\":1},\"b\":\"\\u0001\",\"c\":\"\\u0002\"}"
    },
    {
      "symbols that are no names",
      "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\","
          + "\"symbols\":[\"N/A\",\"in-progress\",\"1\"]}}]}",
      "{\"e\":\"in-progress\"}"
    },
    {
      "a decimal of more digits than its precision",
      "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"d\",\"type\":{\"type\":\"bytes\","
          + "\"logicalType\":\"decimal\",\"precision\":3,\"scale\":1}}]}",
      "{\"d\":\"\\u0003\\u00e8\"}"
    },
    {
      "a union, a map and an array",
      "{\"type\":\"record\",\"name\":\"n.R\",\"doc\":\"d\",\"fields\":[{\"name\":\"u\",\"type\":[\"null\",\"long\"],"
          + "\"default\":null},{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"string\"}},{\"name\":\"l\","
          + "\"type\":{\"type\":\"array\",\"items\":\"double\"}}]}",
      "{\"u\":{\"long\":5},\"m\":{\"k\":\"v\"},\"l\":[0.5]}"
    },
  };

  public static void main(String[] arguments) throws Exception {
    ObjectMapper json = new ObjectMapper();
    ArrayNode found = json.createArrayNode();
    for (String[] each : CASES) {
      Schema schema = new Schema.Parser(NameValidator.NO_VALIDATION).parse(each[1]);
      Object value =
          new GenericDatumReader<>(schema).read(null, DecoderFactory.get().jsonDecoder(schema, each[2]));
      ByteArrayOutputStream bytes = new ByteArrayOutputStream();
      var encoder = EncoderFactory.get().binaryEncoder(bytes, null);
      new GenericDatumWriter<>(schema).write(value, encoder);
      encoder.flush();
      ByteArrayOutputStream single = new ByteArrayOutputStream();
      new BinaryMessageEncoder<>(GenericData.get(), schema).encode(value, single);
      ObjectNode made = found.addObject();
      made.put("name", each[0]);
      made.set("schema", json.readTree(each[1]));
      made.set("value", json.readTree(each[2]));
      made.put("bytes", HexFormat.of().formatHex(bytes.toByteArray()));
      made.put("single_object", HexFormat.of().formatHex(single.toByteArray()));
    }
    ObjectNode all = json.createObjectNode();
    all.put("made_by", "Apache Avro " + Schema.class.getPackage().getImplementationVersion());
    all.set("cases", found);
    System.out.println(json.writerWithDefaultPrettyPrinter().writeValueAsString(all));
  }
}
