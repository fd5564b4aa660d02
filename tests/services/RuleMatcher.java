import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.Ruler;

/** Answers each line of stdin, `{"event": …, "pattern": …}`, with true, false, or why the pattern is none. */
public class RuleMatcher {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; ) {
            JsonNode asked = json.readTree(line);
            String answer;
            try {
                answer = String.valueOf(
                    Ruler.matchesRule(asked.get("event").toString(), asked.get("pattern").toString()));
            } catch (java.io.IOException | IllegalArgumentException error) {
                answer = json.writeValueAsString(String.valueOf(error.getMessage()));
            }
            System.out.println(answer);
        }
    }
}
